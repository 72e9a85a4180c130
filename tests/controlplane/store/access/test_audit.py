"""The log tells of every deed, in the deed's own transaction, as one chain; what was done to it is found."""

import asyncio
import json

import pytest
from sqlalchemy import delete, select, update

from controlplane.access.actor import Actor, inside
from controlplane.intent import Change, Verb
from controlplane.service import ControlPlane
from controlplane.store import tables as t
from controlplane.store.access import audit
from controlplane.store.access.audit import AuditQuery, digest
from federation.access.scopes import Grant
from federation.audit import Chain, Deed, Entry
from federation.errors import Conflict, NotFound
from tests.controlplane.test_service import change, cluster, endpoint, joined, two_clusters


async def log(plane: ControlPlane, **query: object) -> tuple[Entry, ...]:
    entries, _, _ = await plane.access.log(AuditQuery(**{"limit": 5000, **query}))  # type: ignore[arg-type]
    return entries


async def checked(plane: ControlPlane) -> Chain:
    entries, written, head = await plane.access.log(AuditQuery(limit=5000))
    chain = Chain()
    for entry in entries:
        chain.add(entry)
    if (chain.sequence, chain.head) != (written, head):
        raise Conflict("the audit log was cut")
    return chain


async def test_a_change_is_told_with_who_from_where_and_the_hashes_of_what_stood_and_stands(
    plane: ControlPlane,
) -> None:
    who = Actor(name="ann", grants=(Grant("owner"),), address="192.0.2.9", request="r-1")
    first, second = cluster("dc1", "10.10.0.0/16"), cluster("dc1", "10.11.0.0/16")
    for one in (first, second, Change(verb=Verb.DELETE, key=first.key)):
        await plane.change([one], actor=who)
    async with plane.database.reading() as connection:
        rows = await connection.execute(select(t.changes.c.document).order_by(t.changes.c.revision))
        texts = [row.document for row in rows]
    deeds = [entry.deed for entry in await log(plane)]
    assert [(d.action, d.before, d.after) for d in deeds] == [
        ("create", "", digest(texts[0])),
        ("update", digest(texts[0]), digest(texts[1])),
        ("delete", digest(texts[1]), ""),
    ]
    assert {(d.actor, d.address, d.request, d.subject) for d in deeds} == {("ann", "192.0.2.9", "r-1", "Cluster dc1")}  # fmt: skip
    assert json.loads(texts[1])["spec"]["prefixes"] == ["10.11.0.0/16"]


async def test_what_did_not_happen_is_not_told(plane: ControlPlane) -> None:
    await two_clusters(plane)
    before = len(await log(plane))
    await plane.change([cluster("dc1", "10.10.0.0/16")], actor=inside("t"))
    await plane.change([cluster("c3", "10.30.0.0/16")], actor=inside("t"), is_dry_run=True)
    with pytest.raises(Conflict):
        await plane.change([cluster("c4", "10.40.0.0/16"), cluster("c3", "10.10.0.0/16")], actor=inside("t"))
    with pytest.raises(NotFound):
        await plane.revoke_join_token("none", actor=inside("t"))
    assert len(await log(plane)) == before


async def test_tokens_and_joins_are_told_and_no_secret_with_them(plane: ControlPlane) -> None:
    await plane.change([cluster("dc1", "10.10.0.0/16")], actor=inside("t"))
    secrets = [
        (await plane.create_join_token("dc1", 60, 1, actor=inside("t"))).text,
        (await plane.access.create_token("ci", actor=inside("t"))).text,
    ]
    await joined(plane)
    entries = await log(plane)
    actions = [entry.deed.action for entry in entries]
    assert actions == ["create", "jointoken.create", "apitoken.create", "jointoken.create", "jointoken.use", "create"]  # fmt: skip
    text = repr(entries)
    for secret in secrets:
        identifier, _, hidden = secret.partition(".")
        assert identifier in text
        assert hidden not in text


async def test_the_log_is_one_chain_however_many_write_at_once(plane: ControlPlane) -> None:
    await two_clusters(plane)

    async def work(number: int) -> None:
        await plane.change([endpoint(f"e{number}", f"10.10.1.{number + 10}")], actor=inside(f"w{number}"))
        await plane.create_join_token("dc1", 60, 1, actor=inside(f"w{number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(work(number))
    chain = await checked(plane)
    assert chain.sequence == len(await log(plane))
    assert {f"w{n}" for n in range(12)} <= {entry.deed.actor for entry in await log(plane)}


@pytest.mark.parametrize("how", ["changed", "cut out", "cut off", "all gone"])
async def test_a_log_that_was_tampered_with_is_found(plane: ControlPlane, how: str) -> None:
    await two_clusters(plane)
    assert (await checked(plane)).sequence > 3
    c = t.audit.c
    async with plane.database.transaction() as connection:
        newest = (
            await connection.execute(select(c.sequence).order_by(c.sequence.desc()).limit(1))
        ).scalar_one()
        tampering = {
            "changed": update(t.audit).where(c.sequence == 2).values(actor="somebody else"),
            "cut out": delete(t.audit).where(c.sequence == 2),
            "cut off": delete(t.audit).where(c.sequence == newest),
            "all gone": delete(t.audit),
        }
        await connection.execute(tampering[how])
    with pytest.raises(Conflict):
        await checked(plane)


async def test_an_entry_that_is_too_long_for_its_columns_is_kept_shorter_and_still_follows(
    plane: ControlPlane,
) -> None:
    deed = Deed(at="2026", actor="a\0" * 300, action="b" * 300, subject="c" * 5000, address="d" * 300, request="e" * 300, before="f" * 300)  # fmt: skip
    async with plane.database.transaction() as connection:
        await audit.append(connection, [deed, deed])
        await audit.append(connection, [])
    assert (await checked(plane)).sequence == 2


async def test_pages_and_filters_lose_nothing(plane: ControlPlane) -> None:
    await two_clusters(plane)
    await plane.change(
        [change("apply", "Tier", "a-b", {}), change("apply", "Tier", "axb", {})], actor=inside("z")
    )
    whole = await log(plane)
    paged: list[Entry] = []
    while page := await log(plane, after=len(paged), limit=2):
        paged += page
    assert tuple(paged) == whole
    assert [e.deed.subject for e in await log(plane, actor="z")] == ["Tier a-b", "Tier axb"]
    assert [e.deed.subject for e in await log(plane, subject="Tier a-")] == ["Tier a-b"]
    assert await log(plane, subject="Tier a_") == await log(plane, subject="%") == ()
    assert {e.deed.action for e in await log(plane, action="jointoken.use")} == {"jointoken.use"}
    assert await log(plane, since="2027-01-01T00:00:00+00:00") == ()
