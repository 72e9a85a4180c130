"""A cluster that waits for a second person, where that is asked for."""

from collections.abc import AsyncIterator

import pytest

from controlplane.access.actor import inside
from controlplane.service import ControlPlane, Settings
from controlplane.store.access.audit import AuditQuery
from federation.access.scopes import Bounds, Grant
from federation.errors import Conflict, Forbidden, NotFound
from federation.kinds.cluster import is_waiting
from federation.resources.metadata import ObjectKey
from tests.controlplane.conftest import FakeClock
from tests.controlplane.test_service import change, cluster, joined

DC1 = ObjectKey("Cluster", "", "", "dc1")
ANN, BOB = inside("ann"), inside("bob")


@pytest.fixture
async def careful(database_url: str, clock: FakeClock) -> AsyncIterator[ControlPlane]:
    settings = Settings(database_url=database_url, needs_approval=True)
    async with ControlPlane.open(settings, clock) as plane:
        yield plane


async def test_a_new_cluster_takes_part_once_another_person_has_said_so(careful: ControlPlane) -> None:
    await careful.change([cluster("dc1", "10.10.0.0/16"), cluster("aws1", "10.20.0.0/16")], actor=ANN)
    await careful.approve_cluster("aws1", actor=BOB)
    link = change("apply", "Link", "l", {"clusters": ["dc1", "aws1"]})
    with pytest.raises(Conflict, match="ann asked for it"):
        await careful.change([link], actor=BOB)
    with pytest.raises(Conflict, match="waits for a second person"):
        await careful.create_join_token("dc1", 60, 1, actor=ANN)
    with pytest.raises(Forbidden, match="was asked for by ann"):
        await careful.approve_cluster("dc1", actor=ANN)
    found = await careful.approve_cluster("dc1", actor=BOB)
    assert [(c.type, c.status) for c in found.status.conditions] == [("Approved", "True")]
    await careful.change([link], actor=ANN)
    await joined(careful)
    with pytest.raises(Conflict, match="does not wait"):
        await careful.approve_cluster("dc1", actor=BOB)
    with pytest.raises(NotFound):
        await careful.approve_cluster("nowhere", actor=BOB)
    entries, _, _ = await careful.access.log(AuditQuery(action="cluster.approve"))
    assert [(e.deed.actor, e.deed.subject) for e in entries] == [
        ("bob", "Cluster aws1"),
        ("bob", "Cluster dc1"),
    ]


async def test_one_person_with_many_tokens_is_one_person(careful: ControlPlane) -> None:
    first = await careful.access.create_token("robot", actor=ANN)
    robot = await careful.access.actor_of(first.text)
    second = await careful.access.create_token("other-robot", actor=robot)
    other = await careful.access.actor_of(second.text)
    await careful.change([cluster("dc1", "10.10.0.0/16")], actor=robot)
    for same in (ANN, robot, other):
        with pytest.raises(Forbidden, match="was asked for by ann"):
            await careful.approve_cluster("dc1", actor=same)
    theirs = await careful.access.create_token("bobs", actor=BOB)
    await careful.approve_cluster("dc1", actor=await careful.access.actor_of(theirs.text))


async def test_other_prefixes_wait_again_and_what_stands_goes_on(careful: ControlPlane) -> None:
    await careful.change([cluster("dc1", "10.10.0.0/16")], actor=ANN)
    await careful.approve_cluster("dc1", actor=BOB)
    session = await joined(careful)
    await careful.change([change("apply", "Cluster", "dc1", {"prefixes": ["10.10.0.0/16"], "location": "x"})], actor=ANN)  # fmt: skip
    assert not is_waiting(await careful.get(DC1)), "its prefixes are the same"
    await careful.change([change("apply", "Cluster", "dc1", {"prefixes": ["10.10.0.0/16", "10.99.0.0/16"]})], actor=ANN)  # fmt: skip
    assert is_waiting(await careful.get(DC1))
    with pytest.raises(Conflict):
        await careful.create_join_token("dc1", 60, 1, actor=BOB)
    await careful.publish_key(session, "a" * 43 + "=", 51820)
    spec = {"node": "n1", "addresses": ["10.10.1.9"]}
    await careful.change([change("apply", "Endpoint", "e", spec, cluster="dc1", namespace="shop")], actor=ANN)


async def test_who_approves_needs_the_right_for_that_cluster(careful: ControlPlane) -> None:
    await careful.change([cluster("dc1", "10.10.0.0/16")], actor=ANN)
    for role, home in (("policy-admin", "dc1"), ("network-admin", "aws1")):
        grant = Grant(role, Bounds(clusters=frozenset({home})))
        token = await careful.access.create_token("x", grants=[grant], actor=BOB)
        with pytest.raises(Forbidden):
            await careful.approve_cluster("dc1", actor=await careful.access.actor_of(token.text))


async def test_a_user_does_not_write_the_approval(careful: ControlPlane) -> None:
    one = cluster("dc1", "10.10.0.0/16")
    assert one.resource is not None
    await careful.change([one], actor=ANN)
    assert is_waiting(await careful.get(DC1))
    await careful.change([one], actor=ANN)
    assert is_waiting(await careful.get(DC1))


async def test_where_nobody_has_to_approve_nothing_waits(plane: ControlPlane) -> None:
    await plane.change([cluster("dc1", "10.10.0.0/16")], actor=ANN)
    assert not is_waiting(await plane.get(DC1))
    await plane.create_join_token("dc1", 60, 1, actor=ANN)
