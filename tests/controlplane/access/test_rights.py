"""Who may do what, where; and what others learn of it: nothing. On SQLite and on PostgreSQL."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.access.actor import PROCESS, Actor, inside
from controlplane.intent import Change, ListQuery, RequestKey, Verb
from controlplane.service import ControlPlane
from federation.access.scopes import Bounds, Grant
from federation.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Overlap,
    StaleRevision,
)
from federation.kinds.registry import BY_NAME
from federation.resources.metadata import ObjectKey
from tests.controlplane.test_service import change, cluster, endpoint, two_clusters

RULE = {"selector": "all()", "ingress": [{"action": "Deny"}], "types": ["Ingress"]}


def actor(role: str, name: str = "ann", **bounds: Iterable[str]) -> Actor:
    frozen = {key: frozenset(names) for key, names in bounds.items()}
    return Actor(name=name, grants=(Grant(role, Bounds(**frozen)),))


def policy(name: str, namespace: str = "", home: str = "", verb: str = "apply", **spec: Any) -> Change:
    kind = "NetworkPolicy" if namespace else "GlobalNetworkPolicy"
    place = {"cluster": home, "namespace": namespace} if namespace else {}
    return change(verb, kind, name, {**RULE, **spec}, **place)


async def world(plane: ControlPlane) -> None:
    await two_clusters(plane)
    first = [
        change("apply", "Tier", "security", {"order": 10, "defaultAction": "Pass"}),
        endpoint("a", "10.10.1.5"),
        replace_namespace(endpoint("b", "10.10.1.6"), "bank"),
        policy("shop-only", "shop", "dc1"),
        policy("bank-only", "bank", "dc1"),
        policy("all"),
        change("apply", "Link", "l", {"clusters": ["dc1", "aws1"]}),
    ]
    await plane.change(first, actor=inside("owner"))


def replace_namespace(one: Change, namespace: str) -> Change:
    assert one.resource is not None
    resource = replace(one.resource, metadata=replace(one.resource.metadata, namespace=namespace))
    return replace(one, resource=resource, key=resource.key)


def delete(key: ObjectKey) -> Change:
    return Change(verb=Verb.DELETE, key=key)


async def seen(plane: ControlPlane, who: Actor) -> set[str]:
    found = set()
    for kind in BY_NAME:
        page = await plane.list(ListQuery(kind=kind), who)
        found |= {str(resource.key) for resource in page.resources}
    return found


async def test_a_viewer_changes_nothing_and_an_admin_only_what_is_of_his_field(plane: ControlPlane) -> None:
    await world(plane)
    net, pol = cluster("c3", "10.30.0.0/16"), policy("p2")
    for who, may, may_not in (
        (actor("viewer"), [], [net, pol]),
        (actor("auditor"), [], [net, pol]),
        (actor("policy-admin"), [pol], [net]),
        (actor("network-admin"), [net], [pol]),
        (actor("owner"), [net, pol], []),
        (Actor(name="nobody"), [], [net, pol]),
    ):
        for one in may_not:
            with pytest.raises(Forbidden, match=f"{who.name} may not"):
                await plane.change([one], actor=who)
        for one in may:
            await plane.change([one], actor=who)
            await plane.change([delete(one.key)], actor=who)


async def test_one_change_that_is_not_allowed_undoes_a_whole_bulk(plane: ControlPlane) -> None:
    await world(plane)
    before = plane.hub.revision
    with pytest.raises(Forbidden):
        await plane.change([policy("p2"), cluster("c3", "10.30.0.0/16")], actor=actor("policy-admin"))
    assert plane.hub.revision == before


async def test_an_admin_of_a_tier_writes_policies_of_that_tier_and_moves_none_into_it_or_out_of_it(
    plane: ControlPlane,
) -> None:
    await world(plane)
    who = actor("policy-admin", tiers=["security"])
    await plane.change([policy("security.mine", tier="security")], actor=who)
    for forbidden in (
        policy("all"),
        policy("security.mine", tier="default"),
        change("apply", "Tier", "security", {"order": 1, "defaultAction": "Deny"}),
        change("apply", "GlobalNetworkSet", "s", {"nets": ["192.0.2.0/24"]}),
        delete(policy("all").key),
    ):
        with pytest.raises(Forbidden):
            await plane.change([forbidden], actor=who)
    await plane.change([delete(policy("security.mine", tier="security").key)], actor=who)


async def test_an_admin_of_a_cluster_does_nothing_that_reaches_beyond_it(plane: ControlPlane) -> None:
    await world(plane)
    who = actor("policy-admin", clusters=["dc1"])
    await plane.change([policy("fine", "shop", "dc1")], actor=who)
    for forbidden in (policy("everywhere"), policy("all-shops", "shop"), policy("theirs", "shop", "aws1")):
        with pytest.raises(Forbidden):
            await plane.change([forbidden], actor=who)
    operator = actor("network-admin", clusters=["dc1"])
    for forbidden in (
        cluster("c3", "10.30.0.0/16"),
        change("apply", "Link", "m", {"clusters": ["dc1", "aws1"]}),
    ):
        with pytest.raises(Forbidden):
            await plane.change([forbidden], actor=operator)
    both = actor("network-admin", clusters=["dc1", "aws1"])
    await plane.change([change("apply", "Link", "m", {"clusters": ["dc1", "aws1"]})], actor=both)


async def test_a_tenant_sees_what_is_of_its_namespaces_and_nothing_else(plane: ControlPlane) -> None:
    await world(plane)
    shop = await seen(plane, actor("viewer", clusters=["dc1"], namespaces=["shop"]))
    assert {key for key in shop if not key.startswith("Identity")} == {"Endpoint dc1/shop/a", "NetworkPolicy dc1/shop/shop-only"}  # fmt: skip
    assert len(shop) == 3, "and the identity of its own endpoint"
    bank = await seen(plane, actor("viewer", clusters=["dc1"], namespaces=["bank"]))
    assert len(bank) == 3
    assert not shop & bank
    assert await seen(plane, actor("viewer", clusters=["elsewhere"])) == set()
    assert await seen(plane, Actor(name="nobody")) == set()
    assert await seen(plane, actor("viewer")) == await seen(plane, PROCESS)


async def test_what_a_tenant_may_not_see_does_not_exist_for_it(plane: ControlPlane) -> None:
    await world(plane)
    who = actor("owner", clusters=["dc1"], namespaces=["shop"])
    theirs = ObjectKey("Endpoint", "dc1", "bank", "b")
    missing = ObjectKey("Endpoint", "dc1", "bank", "nothing")
    for key in (theirs, missing):
        with pytest.raises(NotFound, match=f"{key} does not exist"):
            await plane.get(key, who)
        with pytest.raises(NotFound, match=f"{key} does not exist"):
            await plane.change([delete(key)], actor=who)
    for name in ("bank-only", "unheard-of"):
        with pytest.raises(Forbidden) as caught:
            await plane.change([policy(name, "bank", "dc1", "create")], actor=who)
        assert "exist" not in str(caught.value)
    with pytest.raises(NotFound):
        await plane.rule_counts("NetworkPolicy", "dc1/bank/bank-only", who)


async def test_an_error_does_not_name_what_its_reader_may_not_see(plane: ControlPlane) -> None:
    await world(plane)
    who = actor("network-admin", clusters=["dc1"], namespaces=["shop"])
    with pytest.raises(Overlap) as caught:
        await plane.change([endpoint("mine", "10.10.1.6")], actor=who)
    assert "bank" not in str(caught.value)
    with pytest.raises(Overlap, match="bank/b"):
        await plane.change([endpoint("mine", "10.10.1.6")], actor=actor("network-admin"))
    linked = actor("network-admin", clusters=["dc1"])
    with pytest.raises(Conflict) as refused:
        await plane.change([change("create", "Link", "l", {"clusters": ["dc1", "dc2"]})], actor=actor("network-admin", clusters=["dc1", "dc2"]))  # fmt: skip
    assert not isinstance(refused.value, AlreadyExists)
    with pytest.raises(StaleRevision):
        await plane.change([replace(endpoint("a", "10.10.1.5"), if_revision=1)], actor=linked)


async def test_only_who_may_see_an_outcome_hears_it_once_more(plane: ControlPlane) -> None:
    await world(plane)
    key = RequestKey("k", "d" * 64)
    await plane.change([policy("p2")], actor=actor("owner"), request=key)
    again = await plane.change([policy("p2")], actor=actor("owner"), request=key)
    assert again.outcomes[0].result == "created"
    with pytest.raises(NotFound):
        await plane.change([policy("p2")], actor=actor("viewer", clusters=["dc1"]), request=key)


async def test_join_tokens_are_made_seen_and_revoked_within_ones_clusters(plane: ControlPlane) -> None:
    await world(plane)
    who = actor("network-admin", clusters=["dc1"])
    mine = await plane.create_join_token("dc1", 60, 1, actor=who)
    theirs = await plane.create_join_token("aws1", 60, 1, actor=inside("t"))
    with pytest.raises(Forbidden):
        await plane.create_join_token("aws1", 60, 1, actor=who)
    with pytest.raises(Forbidden):
        await plane.create_join_token("nowhere", 60, 1, actor=who)
    assert {token.id for token in await plane.list_join_tokens(who) if token.uses_left} == {mine.id}
    with pytest.raises(NotFound):
        await plane.revoke_join_token(theirs.id, actor=who)
    await plane.revoke_join_token(mine.id, actor=who)
    assert mine.id not in {token.id for token in await plane.list_join_tokens()}


async def test_a_token_gives_nothing_that_its_maker_has_not(plane: ControlPlane) -> None:
    access = plane.access
    tenant = actor("owner", "tenant", clusters=["dc1"])
    inner = Grant("policy-admin", Bounds(clusters=frozenset({"dc1"}), namespaces=frozenset({"shop"})))
    for too_much in (Grant("viewer"), Grant("owner"), Grant("policy-admin", Bounds(clusters=frozenset({"dc1", "aws1"})))):  # fmt: skip
        with pytest.raises(Forbidden):
            await access.create_token("x", grants=[too_much], actor=tenant)
    with pytest.raises(Forbidden):
        await access.create_token("x", grants=[Grant("viewer")], actor=Actor(name="nobody"))
    made = await access.create_token("ci", grants=[inner], actor=tenant)
    who = await access.actor_of(made.text)
    assert (who.name, who.grants) == ("ci", (inner,))
    whole = await access.create_token("root")
    assert [token.id for token in await access.list_tokens(tenant)] == [made.id]
    assert {token.id for token in await access.list_tokens()} >= {made.id, whole.id}
    with pytest.raises(NotFound):
        await access.revoke_token(whole.id, actor=tenant)
    await access.revoke_token(made.id, actor=tenant)
    with pytest.raises(Exception, match="unknown"):
        await access.actor_of(made.text)


@pytest.mark.parametrize(
    ("name", "grants", "ttl"),
    [("", [Grant("viewer")], None), ("oidc:ann", [Grant("viewer")], None), ("a b", [Grant("viewer")], None), ("x" * 101, [Grant("viewer")], None),
     ("x", [], None), ("x", [Grant("viewer")], 0), ("x", [Grant("viewer")], 400 * 86400)],
)  # fmt: skip
async def test_a_token_that_nobody_should_have_is_refused(
    plane: ControlPlane, name: str, grants: list[Grant], ttl: int | None
) -> None:
    with pytest.raises(InvalidInput):
        await plane.access.create_token(name, grants=grants, ttl_seconds=ttl)
