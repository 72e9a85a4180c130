"""A relay between nodes and a control plane, over real TLS: what it serves, whom it lets in, what it forwards."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.rest.relaying.application import SERVED
from controlplane.access.actor import inside
from controlplane.intent import Verb
from controlplane.pki import x509
from federation import wire
from federation.errors import Forbidden, Unavailable
from federation.resources.metadata import ObjectKey
from nodeagent.control import csr, identity
from nodeagent.control.client import HttpChannel
from nodeagent.control.renewal import Renewal
from nodeagent.control.replica import Replica, State
from tests.api.relay.conftest import Relaying, centre, relaying, until
from tests.scenarios.conftest import EagerClock
from tests.scenarios.serving import Serving
from tests.scenarios.test_certificates import CUT, ROUTES, wrong_certificate

__all__ = ["centre"]


@pytest.fixture
async def relay(centre: Serving) -> AsyncIterator[Relaying]:
    state = await centre.join_relay("dc1")
    async with relaying(state, centre.url) as found:
        await found.until(lambda: found.plane.certificates.authorities.all and found.plane.feed.has_state)
        yield found


@contextlib.asynccontextmanager
async def talking(channel: HttpChannel) -> AsyncIterator[HttpChannel]:
    try:
        yield channel
    finally:
        await channel.close()


async def heard(channel: HttpChannel, since: int | None = None) -> list[wire.Message]:
    """A stream until it is in sync."""
    messages = []
    async with contextlib.aclosing(channel.messages(since)) as stream:
        async for message in stream:
            messages.append(message)
            if isinstance(message, wire.InSync):
                break
    return messages


def state_of(messages: list[wire.Message]) -> State:
    replica = Replica(State())
    for message in messages:
        replica.take(message)
    return replica.state


def objects(messages: list[wire.Message]) -> set[str]:
    return {f"{m.document['kind']} {m.document['metadata']['name']}" for m in messages if isinstance(m, wire.Upsert)}  # fmt: skip


async def test_a_node_hears_from_a_relay_what_the_control_plane_would_tell_it(
    centre: Serving, relay: Relaying
) -> None:
    state = await centre.join("dc1", 10)
    await centre.change("Tier", "security", {"order": 5})
    await relay.until(lambda: relay.plane.hub.revision == centre.plane.hub.revision)
    direct, below = centre.channel(state), relay.channel(state)
    assert state_of(await heard(below)) == state_of(await heard(direct))
    assert "Tier security" in objects(await heard(below))
    revision = centre.plane.hub.revision
    await centre.change("Tier", "security", {"order": 6})
    await relay.until(lambda: relay.plane.hub.revision > revision)
    (begin, *rest) = await heard(below, revision)
    assert isinstance(begin, wire.Begin)
    assert begin.mode == "resume"
    assert objects(rest) == {"Tier security"}
    await direct.close()
    await below.close()


async def wrong_here(centre: Serving, kind: str) -> ssl.SSLContext:
    """What is shown by who is not let in below a relay of dc1."""
    match kind:
        case "another cluster's node":
            return identity.context(await centre.join("aws1", 20))
        case "the relay's own":
            return identity.context(centre.folder / "dc1-relay-r1")
        case "another cluster's relay":
            return identity.context(await centre.join_relay("aws1", "r2"))
    return await wrong_certificate(centre, kind)


@pytest.mark.parametrize(
    "kind",
    ["none", "expired", "revoked", "of a deleted node", "of an earlier enrolment", "self-signed", "another root, same names",
     "another cluster's node", "the relay's own", "another cluster's relay"],
)  # fmt: skip
async def test_no_route_of_a_relay_opens_to_a_wrong_certificate(
    centre: Serving, relay: Relaying, kind: str
) -> None:
    context = await wrong_here(centre, kind)
    await relay.until(lambda: relay.plane.hub.revision == centre.plane.hub.revision)
    served = {name: route for name, route in ROUTES.items() if route[1] in SERVED}
    assert served.keys() == ROUTES.keys() - {"reports"}
    for name, (method, path, body) in served.items():
        async with httpx.AsyncClient(base_url=relay.url, verify=context) as http:
            try:
                answer = await http.request(method, path, json=body)
            except CUT:
                continue
        assert answer.status_code in (401, 403), (name, answer.text)


async def test_a_nodes_certificate_is_of_no_use_as_a_relays(centre: Serving) -> None:
    state = await centre.join("dc1", 10)
    async with relaying(state, centre.url) as false:
        node = await centre.join("aws1", 20)
        async with talking(false.channel(node)) as channel:
            with pytest.raises(Unavailable):  # it has no name that the node asks it by, and is no server
                await heard(channel)


async def test_a_relay_of_another_cluster_learns_nothing_of_this_one(centre: Serving, relay: Relaying) -> None:  # fmt: skip
    await centre.join("dc1", 10)
    other = await centre.join_relay("aws1", "r2")
    async with relaying(other, centre.url, "dc1", "r2") as found:  # it says that it is of dc1
        await found.until(lambda: found.plane.feed.has_state)
        assert not [k for k in found.plane.hub.objects if k.cluster == "dc1"]
        async with talking(centre.channel(other)) as channel:
            with pytest.raises(Forbidden):
                await channel.report(1, ())


async def test_a_revocation_ends_a_stream_of_the_relay(centre: Serving, relay: Relaying) -> None:
    channel = relay.channel(await centre.join("dc1", 10))
    ended = asyncio.Event()

    async def follow() -> None:
        async for _ in channel.messages(None):
            continue
        ended.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await relay.until(lambda: relay.plane.fanout.size == 1)
        await centre.plane.certificates.revoke("dc1", "n1", actor=inside("t"))
        async with asyncio.timeout(15):
            await ended.wait()
    await channel.close()


async def test_what_a_node_says_reaches_the_control_plane_as_its_own_word(centre: Serving, relay: Relaying) -> None:  # fmt: skip
    channel = relay.channel(await centre.join("dc1", 10))
    revision = centre.plane.hub.revision
    await channel.report(revision, (("map m", "driver", "full"),))
    await channel.publish_key("k" * 43 + "=", 51820)
    spec = {"tier": "default", "selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
    await centre.change("GlobalNetworkPolicy", "p", spec)
    policy = ObjectKey("GlobalNetworkPolicy", "", "", "p")
    asked = {"counts": [{"kind": policy.kind, "policy": "p", "section": "ingress", "rule": 0, "packets": 3, "bytes": 5}]}  # fmt: skip
    answer = await channel.http.post("/agent/v1/counts", json=asked)
    assert answer.status_code == 204, answer.text
    await relay.until(lambda: relay.plane.delivery.size == 0)
    assert dict((await centre.plane.rollout(revision, 0)).behind)["dc1/n1"] == "map m: full"
    (count,), nodes = await centre.plane.rule_counts(policy.kind, "p")
    assert (count.packets, count.bytes, nodes) == (3, 5, 1)
    node = centre.plane.hub.objects[ObjectKey("Node", "dc1", "", "n1")].document
    assert node is not None
    assert node["spec"]["wireguard"]["publicKey"] == "k" * 43 + "="
    await channel.close()


async def test_an_agent_below_a_relay_renews_and_comes_back_after_its_certificate_has_expired(
    centre: Serving, relay: Relaying
) -> None:
    state = await centre.join("dc1", 10)
    channel = relay.channel(state)
    first = identity.load(state)
    assert first is not None
    key, good = identity.key_and_certificate(state)
    asked = await asyncio.to_thread(csr.renewal, key)
    answer = await channel.renew(asked.csr, asked.proof)
    identity.save(state, asked.key, answer)
    channel.adopt()
    await channel.report(1, ())
    authority, now = centre.plane.certificates.authorities.issuing, centre.plane.clock.now()
    facts = x509.facts_of(good)
    again = await asyncio.to_thread(csr.request, asked.key)
    old = x509.sign_node(authority.issuer, again.csr, facts.uris[0], facts.enrolment, now - timedelta(days=2), timedelta(hours=1))  # fmt: skip
    assert (await channel.recover(old, again.csr))["serial"] != first.serial
    await channel.close()


async def test_a_rotation_of_the_authority_goes_through_a_relay_to_its_nodes(centre: Serving, relay: Relaying) -> None:  # fmt: skip
    state = await centre.join("dc1", 10)
    channel = relay.channel(state)
    old = centre.plane.certificates.authorities.issuing
    renewal = Renewal(channel, state, EagerClock(), lambda **_: None)

    async def follow() -> None:
        while True:
            with contextlib.suppress(Unavailable):
                async for _ in channel.messages(None):
                    continue

    async def until_done(step: str) -> None:
        async with asyncio.timeout(60), centre.as_user() as http:
            while (answer := await http.post("/api/v1/ca/rotate", json={"step": step})).status_code == 409:
                await centre.tls.look()
                await centre.change("Tier", "nudge", {"order": float(asyncio.get_running_loop().time())})
                await asyncio.sleep(0.3)
            assert answer.status_code == 200, answer.text
        await centre.tls.look()

    tasks = [asyncio.ensure_future(follow()), asyncio.ensure_future(renewal.watch())]
    try:
        await until_done("prepare")
        await until_done("issue")
        new = centre.plane.certificates.authorities.issuing
        assert new.id != old.id
        await until_done("drop")
        assert renewal.identity.issuer == new.id
        held = identity.load(centre.folder / "dc1-relay-r1")
        assert held is not None
        assert held.issuer == new.id
        await channel.report(1, ())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await channel.close()


async def test_a_new_node_joins_through_a_relay_and_the_control_plane_lets_it_in(centre: Serving, relay: Relaying) -> None:  # fmt: skip
    token = await centre.plane.create_join_token("dc1", 60, 1, actor=inside("t"))
    made = await asyncio.to_thread(csr.request)
    body: dict[str, Any] = {"cluster": "dc1", "node": "n5", "addresses": ["192.0.2.5"], "podPrefixes": ["10.10.5.0/24"], "token": token.text, "csr": made.csr}  # fmt: skip
    context = identity.context(centre.folder / "dc1-relay-r1", shows=False)
    async with httpx.AsyncClient(base_url=relay.url, verify=context) as http:
        answer = await http.post("/agent/v1/join", json=body)
        assert answer.status_code == 201, answer.text
        again = await http.post("/agent/v1/join", json=body)
        assert again.status_code == 401
        assert "has been used" in again.json()["detail"]
        assert (await http.get("/api/v1/nodes")).status_code == 404
        told = (await http.get("/api/v1/ca")).json()
    assert told["hashes"] == [centre.plane.certificates.authorities.issuing.pin]
    state = centre.folder / "n5"
    state.mkdir()
    identity.save(state, made.key, answer.json())
    async with talking(relay.channel(state)) as channel:
        assert "Node n5" in objects(await heard(channel))
    (used,) = [u for t in await centre.plane.list_join_tokens() for u in t.used if u.node == "n5"]
    assert used.source == "127.0.0.1"


async def test_a_relay_that_is_deleted_serves_nobody_any_more(centre: Serving, relay: Relaying) -> None:
    channel = relay.channel(await centre.join("dc1", 10))
    await heard(channel)
    await centre.change("Relay", "r1", {"names": ["127.0.0.1"]}, Verb.DELETE, cluster="dc1")
    await until(lambda: relay.plane.feed.refusal)
    with pytest.raises(Unavailable, match="does not let this relay in"):
        await heard(channel)
    await channel.close()


async def test_an_agent_that_knows_more_than_its_relay_keeps_what_it_has(
    centre: Serving, relay: Relaying, tmp_path: Path
) -> None:
    channel = relay.channel(await centre.join("dc1", 10))
    await heard(channel)
    relay.plane.feed.connected.clear()  # as if the control plane were away
    with pytest.raises(Unavailable, match="and you 999 already"):
        await heard(channel, 999)
    relay.plane.feed.connected.set()
    (begin, *_) = await heard(channel, 10**9)  # the control plane says that there is no such revision
    assert isinstance(begin, wire.Begin)
    assert begin.mode == "snapshot"
    await channel.close()
