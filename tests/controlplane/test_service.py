"""The control plane's promises, on SQLite and on PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from controlplane.access.actor import inside
from controlplane.intent import Change, JoinRequest, ListQuery, NodeReport, NodeSession, Verb
from controlplane.service import ControlPlane
from federation import wire
from federation.errors import (
    AlreadyExists,
    CausewayError,
    Conflict,
    Forbidden,
    NotFound,
    Overlap,
    StaleRevision,
    Unauthenticated,
)
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from tests.controlplane.lines import whole_lines


def change(
    verb: str, kind: str, name: str, spec: dict[str, Any], if_revision: int | None = None, **meta: Any
) -> Change:
    resource = decode(
        {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}
    )
    return Change(verb=Verb(verb), key=resource.key, resource=resource, if_revision=if_revision)


def cluster(name: str, prefix: str, verb: str = "apply") -> Change:
    return change(verb, "Cluster", name, {"prefixes": [prefix]})


def endpoint(name: str, address: str, node: str = "n1", home: str = "dc1", **labels: str) -> Change:
    spec = {"node": node, "addresses": [address]}
    return change("apply", "Endpoint", name, spec, cluster=home, namespace="shop", labels=labels)


async def joined(plane: ControlPlane, home: str = "dc1", node: str = "n1", third: int = 1) -> NodeSession:
    token = await plane.create_join_token(home, 60, 1, actor=inside("t"))
    second = {"dc1": 10, "aws1": 20}[home]
    credential = await plane.join(
        JoinRequest(
            token=token.text, cluster=home, node=node, os="linux", addresses=(IPv4Address(f"192.0.{second}.{third}"),),
            pod_prefixes=(IPv4Network(f"10.{second}.{third}.0/24"),),
        )
    )  # fmt: skip
    return await plane.access.node_session(credential)


async def two_clusters(plane: ControlPlane) -> tuple[NodeSession, NodeSession]:
    await plane.change([cluster("dc1", "10.10.0.0/16"), cluster("aws1", "10.20.0.0/16")], actor=inside("t"))
    return await joined(plane), await joined(plane, "aws1")


async def take(stream: AsyncIterator[bytes]) -> list[wire.Message]:
    """To the end of a transaction, in however many pieces it comes."""
    text = b""
    while not text.endswith(b"\n") or not isinstance(
        wire.decode(text.splitlines()[-1]), wire.Commit | wire.InSync
    ):
        text += await anext(stream)
    return [wire.decode(line) for line in text.splitlines()]


def kinds(messages: list[wire.Message]) -> list[str]:
    return [m.document["kind"] if isinstance(m, wire.Upsert) else m.kind if isinstance(m, wire.Delete) else type(m).__name__ for m in messages]  # fmt: skip


async def test_overlapping_prefixes_are_refused_and_the_other_cluster_is_named(plane: ControlPlane) -> None:
    await plane.change([cluster("dc1", "10.0.0.0/8")], actor=inside("t"))
    with pytest.raises(Overlap, match="dc1"):
        await plane.change([cluster("aws1", "10.20.0.0/16")], actor=inside("t"))
    assert len((await plane.list(ListQuery(kind="Cluster"))).resources) == 1


async def test_a_bulk_with_one_bad_document_changes_nothing(plane: ControlPlane) -> None:
    before = plane.hub.revision
    with pytest.raises(CausewayError):
        await plane.change(
            [cluster("dc1", "10.10.0.0/16"), endpoint("e", "10.10.1.1", node="none")], actor=inside("t")
        )
    assert not (await plane.list(ListQuery(kind="Cluster"))).resources
    assert plane.hub.revision == before


async def test_a_name_is_taken_once_and_a_stale_revision_is_refused(plane: ControlPlane) -> None:
    first = await plane.change([cluster("dc1", "10.10.0.0/16", "create")], actor=inside("t"))
    with pytest.raises(AlreadyExists):
        await plane.change([cluster("dc1", "10.10.0.0/16", "create")], actor=inside("t"))
    await plane.change([cluster("dc1", "10.11.0.0/16")], actor=inside("t"))
    stale = change("replace", "Cluster", "dc1", {"prefixes": ["10.12.0.0/16"]}, first.revision)
    with pytest.raises(StaleRevision):
        await plane.change([stale], actor=inside("t"))


async def test_the_same_document_again_makes_no_revision_and_a_dry_run_none_either(
    plane: ControlPlane,
) -> None:
    first = await plane.change([cluster("dc1", "10.10.0.0/16")], actor=inside("t"))
    again = await plane.change([cluster("dc1", "10.10.0.0/16")], actor=inside("t"))
    assert (again.revision, again.outcomes[0].result) == (first.revision, "unchanged")
    dry = await plane.change([cluster("aws1", "10.20.0.0/16")], actor=inside("t"), is_dry_run=True)
    assert dry.outcomes[0].result == "created"
    with pytest.raises(NotFound):
        await plane.get(ObjectKey("Cluster", "", "", "aws1"))


async def test_a_join_token_is_used_once_in_time_and_for_its_cluster(plane: ControlPlane, clock: Any) -> None:
    await plane.change([cluster("dc1", "10.10.0.0/16"), cluster("aws1", "10.20.0.0/16")], actor=inside("t"))
    token = (await plane.create_join_token("dc1", 60, 1, actor=inside("t"))).text

    def request(text: str, home: str = "dc1", node: str = "n1") -> JoinRequest:
        return JoinRequest(token=text, cluster=home, node=node, os="linux", addresses=(), pod_prefixes=())

    with pytest.raises(Unauthenticated, match="unknown"):
        await plane.join(request("abc.def"))
    with pytest.raises(Forbidden, match="dc1"):
        await plane.join(request(token, "aws1"))
    await plane.join(request(token))
    with pytest.raises(Unauthenticated, match="used"):
        await plane.join(request(token, node="n2"))
    late = (await plane.create_join_token("dc1", 60, 1, actor=inside("t"))).text
    clock.seconds += 61
    with pytest.raises(Unauthenticated, match="expired"):
        await plane.join(request(late, node="n3"))


async def test_an_address_or_prefix_belongs_to_one(plane: ControlPlane) -> None:
    await two_clusters(plane)
    await plane.change([endpoint("a", "10.10.1.1")], actor=inside("t"))
    with pytest.raises(Overlap, match="dc1/shop/a"):
        await plane.change([endpoint("b", "10.10.1.1")], actor=inside("t"))
    token = (await plane.create_join_token("dc1", 60, 1, actor=inside("t"))).text
    taken = JoinRequest(
        token=token,
        cluster="dc1",
        node="n9",
        os="linux",
        addresses=(IPv4Address("192.0.10.1"),),
        pod_prefixes=(),
    )
    with pytest.raises(Overlap, match="dc1/n1"):
        await plane.join(taken)


async def test_the_same_labels_have_the_same_identity_which_goes_with_its_last_endpoint(
    plane: ControlPlane,
) -> None:
    await two_clusters(plane)
    await plane.change(
        [endpoint("a", "10.10.1.1", app="web"), endpoint("b", "10.10.1.2", app="web")], actor=inside("t")
    )
    found = (await plane.list(ListQuery(kind="Endpoint"))).resources
    assert found[0].status.identity == found[1].status.identity >= 256
    await plane.change([Change(verb=Verb.DELETE, key=found[0].key)], actor=inside("t"))
    assert len((await plane.list(ListQuery(kind="Identity"))).resources) == 1
    await plane.change([endpoint("b", "10.10.1.2", app="db")], actor=inside("t"))
    (left,) = (await plane.list(ListQuery(kind="Identity"))).resources
    assert left.spec.labels["app"] == "db"


async def test_a_user_cannot_write_identities_and_what_others_need_stays(plane: ControlPlane) -> None:
    await two_clusters(plane)
    with pytest.raises(Forbidden):
        await plane.change(
            [change("apply", "Identity", "300", {"number": 300, "labels": {}})], actor=inside("t")
        )
    with pytest.raises(Conflict, match="dc1/n1"):
        await plane.change(
            [Change(verb=Verb.DELETE, key=ObjectKey("Cluster", "", "", "dc1"))], actor=inside("t")
        )


async def test_lists_select_by_labels_and_fields_and_come_in_pages(plane: ControlPlane) -> None:
    await two_clusters(plane)
    await plane.change(
        [endpoint(f"e{n}", f"10.10.1.{n + 1}", app="web" if n % 2 else "db") for n in range(6)],
        actor=inside("t"),
    )
    web = await plane.list(
        ListQuery(kind="Endpoint", label_selector="app == 'web'", field_selector="metadata.name!=e1")
    )
    assert [r.metadata.name for r in web.resources] == ["e3", "e5"]
    names, after = [], ""
    while True:
        page = await plane.list(ListQuery(kind="Endpoint", limit=4, continue_after=after))
        names += [r.metadata.name for r in page.resources]
        after = page.continue_after
        if not after:
            break
    assert names == [f"e{n}" for n in range(6)]


async def test_a_stream_shows_its_own_cluster_and_a_link_opens_the_other(plane: ControlPlane) -> None:
    session, _ = await two_clusters(plane)
    await plane.change(
        [endpoint("a", "10.10.1.1"), endpoint("z", "10.20.1.1", home="aws1")], actor=inside("t")
    )
    stream = plane.stream(session, None)
    first = await take(stream)
    assert kinds(first).count("Endpoint") == 1
    assert isinstance(first[0], wire.Begin)
    assert isinstance(first[-1], wire.InSync)
    await plane.change(
        [change("apply", "Link", "dc1-aws1", {"clusters": ["dc1", "aws1"]})], actor=inside("t")
    )
    second = await take(stream)
    assert sorted(kinds(second)[:-1]) == ["Cluster", "Endpoint", "Identity", "Link", "Node"]
    await plane.change(
        [Change(verb=Verb.DELETE, key=ObjectKey("Link", "", "", "dc1-aws1"))], actor=inside("t")
    )
    third = await take(stream)
    gone = sorted(m.kind for m in third if isinstance(m, wire.Delete))
    assert gone == ["Cluster", "Endpoint", "Identity", "Link", "Node"]
    assert isinstance(third[-1], wire.Commit)


async def test_a_stream_resumes_with_what_it_missed_and_coalesces_what_it_did_not_read(
    plane: ControlPlane,
) -> None:
    session, _ = await two_clusters(plane)
    seen = plane.hub.revision
    for n in range(5):
        await plane.change([endpoint("a", f"10.10.1.{n + 1}")], actor=inside("t"))
    resumed = await take(plane.stream(session, seen))
    assert resumed[0] == wire.Begin("resume", plane.hub.revision)
    assert kinds(resumed).count("Endpoint") == 1
    live = plane.stream(session, plane.hub.revision)
    await take(live)
    for n in range(5):
        await plane.change([endpoint("a", f"10.10.1.{n + 10}")], actor=inside("t"))
    assert kinds(await take(live)).count("Endpoint") == 1


async def test_many_writers_make_revisions_that_every_watcher_sees_in_order(plane: ControlPlane) -> None:
    session, _ = await two_clusters(plane)
    start = plane.hub.revision
    seen: list[int] = []

    async def follow() -> None:
        async for chunk in whole_lines(plane.stream(session, start)):
            for line in chunk.splitlines():
                message = wire.decode(line)
                if isinstance(message, wire.Upsert) and message.document["kind"] == "Tier":
                    seen.append(message.document["metadata"]["revision"])
            if len(seen) >= 16:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(follow(), name="watcher")
        for n in range(16):
            group.create_task(
                plane.change([change("create", "Tier", f"t{n}", {"order": n})], actor=inside("t")),
                name="writer",
            )
    assert seen == sorted(seen)
    assert len(set(seen)) == 16


async def test_a_rollout_says_who_is_behind_and_why(plane: ControlPlane) -> None:
    dc1, aws1 = await two_clusters(plane)
    revision = (await plane.change([change("apply", "Tier", "x", {"order": 1})], actor=inside("t"))).revision
    await plane.report(dc1, NodeReport(revision=revision))
    rollout = await plane.rollout(revision, 0)
    assert rollout.enforced == ("dc1/n1",)
    assert rollout.behind == (("aws1/n1", "never reported"),)
    await plane.report(aws1, NodeReport(revision=revision, faults=(("map rules", "driver", "full"),)))
    assert (await plane.rollout(revision, 0)).behind == (("aws1/n1", "map rules: full"),)


async def test_what_was_written_is_there_after_a_restart(database_url: str, clock: Any) -> None:
    from controlplane.service import Settings

    async with ControlPlane.open(Settings(database_url=database_url), clock) as first:
        await first.change([cluster("dc1", "10.10.0.0/16")], actor=inside("t"))
        revision = first.hub.revision
    async with ControlPlane.open(Settings(database_url=database_url), clock) as second:
        assert second.hub.revision == revision
        assert json.loads(next(iter(second.hub.objects.values())).line)["object"]["metadata"]["name"] == "dc1"


async def test_a_key_that_is_told_again_takes_no_revision(plane: ControlPlane) -> None:
    session, _ = await two_clusters(plane)
    await plane.publish_key(session, "A" * 43 + "=", 51820)
    revision = plane.hub.revision
    await plane.publish_key(session, "A" * 43 + "=", 51820)
    applied = await plane.change([cluster("gcp1", "10.30.0.0/16")], actor=inside("t"))
    assert applied.revision == revision + 1


async def test_a_node_that_is_behind_says_why(plane: ControlPlane) -> None:
    session, _ = await two_clusters(plane)
    await plane.report(session, NodeReport(revision=1, faults=(("compiler", "compiler", "not compiled"),)))
    rollout = await plane.rollout(plane.hub.revision, 0)
    assert ("dc1/n1", "last reported revision 1; compiler: not compiled") in rollout.behind


async def test_a_policy_says_which_of_its_nodes_enforce_it_and_who_is_behind_and_why(
    plane: ControlPlane,
) -> None:
    one, other = await two_clusters(plane)
    spec = {"types": ["Ingress"], "ingress": [{"action": "Deny"}]}
    both = change("apply", "GlobalNetworkPolicy", "both", {**spec, "selector": "all()"})
    only = change(
        "apply", "GlobalNetworkPolicy", "only", {**spec, "selector": "causeway.dev/cluster == 'dc1'"}
    )
    revision = (await plane.change([both, only], actor=inside("t"))).revision

    async def told(key: ObjectKey) -> tuple[str, str]:
        (condition,) = [c for c in (await plane.get(key)).status.conditions if c.type == "Enforced"]
        return condition.status, condition.message

    assert (await told(both.key))[1].startswith("0/2; aws1/")
    await plane.report(one, NodeReport(revision=revision))
    assert await told(only.key) == ("True", "1/1")
    status, message = await told(both.key)
    assert (status, message) == ("False", f"1/2; aws1/{other.node}: never reported")
    await plane.report(
        other, NodeReport(revision=revision, faults=(("Endpoint aws1/a/b", "no-room", "denied"),))
    )
    assert await told(both.key) == ("False", f"1/2; aws1/{other.node}: Endpoint aws1/a/b: denied")
    await plane.report(other, NodeReport(revision=revision))
    assert await told(both.key) == ("True", "2/2")
    standing = await plane.get(both.key)
    again = await plane.change([Change(verb=Verb.APPLY, key=both.key, resource=standing)], actor=inside("t"))
    assert again.outcomes[0].result == "unchanged", "what is told is not the user's to write"
