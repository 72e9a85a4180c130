"""Agents and a real server with TLS between them: every route of agents against every wrong certificate, revocation, renewal, rotation."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.client import Client
from api.rest.app import application
from controlplane.access.actor import inside
from controlplane.intent import Verb
from controlplane.pki import x509
from federation import wire
from federation.errors import CausewayError, InvalidInput, Unauthenticated, Unavailable
from nodeagent.control import csr, identity
from nodeagent.control.renewal import Renewal
from tests.scenarios.conftest import EagerClock
from tests.scenarios.serving import Serving, answer_of, serving

ROUTES = {
    "stream": ("GET", "/agent/v1/stream", None),
    "key": ("PUT", "/agent/v1/key", {"publicKey": "A" * 43 + "=", "listenPort": 51820}),
    "report": ("POST", "/agent/v1/report", {"revision": 1}),
    "counts": ("POST", "/agent/v1/counts", {"counts": []}),
    "renew": ("POST", "/agent/v1/renew", {"csr": "x"}),
    "trust": ("POST", "/agent/v1/trust", {"digest": "x"}),
    "reports": ("POST", "/agent/v1/reports", {"reports": []}),
}
CUT = (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.WriteError)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as found:
        yield found


async def test_every_route_of_agents_is_tried(server: Serving) -> None:
    known = application(server.plane).openapi()["paths"]
    by_other_means = {"/agent/v1/join", "/agent/v1/recover", "/agent/v1/exchange"}
    agents = {path for path in known if path.startswith("/agent/")} - by_other_means
    assert agents == {path for _, path, _ in ROUTES.values()}


def shown(folder: Path, trusted: Path, key: str, chain: str) -> ssl.SSLContext:
    """A client that trusts the server and shows this."""
    context = identity.context(trusted, shows=False)
    file = folder / "shown.pem"
    file.write_text(key + chain)
    context.load_cert_chain(file)
    return context


async def wrong_certificate(server: Serving, kind: str) -> ssl.SSLContext:
    """What is shown by who is not let in as a node of dc1."""
    state = await server.join("dc1", 10)
    authority, now = server.plane.certificates.authorities.issuing, server.plane.clock.now()
    key, good = identity.key_and_certificate(state)
    made = await asyncio.to_thread(csr.request, key)
    facts = x509.facts_of(good)
    hour, chain = timedelta(hours=1), good + authority.intermediate
    match kind:
        case "none":
            return identity.context(state, shows=False)
        case "expired":
            chain = x509.sign_node(authority.issuer, made.csr, facts.uris[0], facts.enrolment, now - 2 * hour, hour)  # fmt: skip
            chain += authority.intermediate
        case "revoked":
            await server.plane.certificates.revoke("dc1", "n1", actor=inside("t"))
        case "of a deleted node":
            await server.change("Node", "n1", {}, Verb.DELETE, cluster="dc1")
        case "of an earlier enrolment":
            await server.join("dc1", 10)
        case "self-signed":
            own = x509.make_root("n1", now)
            key, chain = own.key, own.certificate
        case "another root, same names":
            root = x509.make_root("Causeway causeway.internal", now)
            above = x509.make_intermediate(root, "Causeway causeway.internal", "causeway.internal", now)
            leaf = x509.sign_node(above, made.csr, facts.uris[0], facts.enrolment, now, hour)
            chain = leaf + above.certificate + root.certificate
        case "the server's own":
            own = x509.make_server(authority.issuer, ["127.0.0.1"], authority.domain, now, hour)
            key, chain = own.key, own.certificate + authority.intermediate
    return shown(server.folder, state, key, chain)


@pytest.mark.parametrize(
    "kind",
    ["none", "expired", "revoked", "of a deleted node", "of an earlier enrolment", "self-signed", "another root, same names", "the server's own"],
)  # fmt: skip
async def test_no_route_of_agents_opens_to_a_wrong_certificate(server: Serving, kind: str) -> None:
    context = await wrong_certificate(server, kind)
    for name, (method, path, body) in ROUTES.items():
        async with httpx.AsyncClient(base_url=server.url, verify=context) as http:
            try:
                answer = await http.request(method, path, json=body)
            except CUT:  # the handshake failed, as TLS 1.3 tells it
                continue
        assert answer.status_code == 401, (name, answer.text)


async def test_a_user_s_token_or_a_credential_opens_no_route_of_agents(server: Serving) -> None:
    async with server.as_user() as http:
        for method, path, body in ROUTES.values():
            assert (await http.request(method, path, json=body)).status_code == 401
        plain = {"token": "a.b", "cluster": "dc1", "node": "n1"}
        answer = await http.post("/agent/v1/join", json=plain)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/csr")


async def test_an_agent_speaks_of_its_own_node_only(server: Serving) -> None:
    state = await server.join("dc1", 10)
    await server.join("aws1", 20)
    async with httpx.AsyncClient(base_url=server.url, verify=identity.context(state)) as http:
        for name in ("key", "report"):
            method, path, body = ROUTES[name]
            for other in ({"cluster": "aws1"}, {"node": "n2"}):
                answer = await http.request(method, path, json={**(body or {}), **other})
                assert answer.status_code == 403, answer.text
        assert (await http.post("/agent/v1/report", json={"revision": 7})).status_code == 204
    async with server.as_user() as user:
        nodes = {n["metadata"]["cluster"]: n for n in (await user.get("/api/v1/nodes")).json()["items"]}
    assert nodes["dc1"]["status"]["enforcedRevision"] == 7
    assert nodes["aws1"]["status"].get("enforcedRevision", 0) == 0


@pytest.mark.parametrize("way", ["deleted", "revoked", "joined anew"])
async def test_an_open_stream_ends_at_once_and_tells_nothing_more(server: Serving, way: str) -> None:
    channel = server.channel(await server.join("dc1", 10))
    heard: list[wire.Message] = []

    async def follow() -> None:
        async for message in channel.messages(None):
            heard.append(message)
            if isinstance(message, wire.InSync):
                has_begun.set()

    has_begun = asyncio.Event()
    task = asyncio.ensure_future(follow())
    async with asyncio.timeout(5):  # half of a keep-alive
        await has_begun.wait()
        before = len(heard)
        match way:
            case "deleted":
                await server.change("Node", "n1", {}, Verb.DELETE, cluster="dc1")
            case "revoked":
                await server.plane.certificates.revoke("dc1", "n1", actor=inside("t"))
            case "joined anew":
                await server.join("dc1", 10)
        await task
    assert len(heard) == before
    await channel.close()


async def test_an_expired_certificate_comes_back_by_its_key_and_a_revoked_one_does_not(
    server: Serving,
) -> None:
    state = await server.join("dc1", 10)
    authority, now = server.plane.certificates.authorities.issuing, server.plane.clock.now()
    key, good = identity.key_and_certificate(state)
    asked = await asyncio.to_thread(csr.request, key)
    facts = x509.facts_of(good)
    old = x509.sign_node(authority.issuer, asked.csr, facts.uris[0], facts.enrolment, now - timedelta(days=7), timedelta(hours=1))  # fmt: skip
    stale = {"serial": "1", "issuer": authority.id, "issued": (now - timedelta(days=7)).isoformat(), "notAfter": (now - timedelta(days=6)).isoformat()}  # fmt: skip
    bundle = server.plane.certificates.authorities.trust.bundle
    identity.save(state, key, {**stale, "bundle": bundle, "certificate": old + authority.intermediate})
    channel = server.channel(state)
    with pytest.raises(CausewayError):
        await channel.report(1, ())
    told = asyncio.Event()
    renewal = Renewal(channel, state, EagerClock(), lambda **facts: told.set() if facts.get("certificate_expires", now) > now else None)  # fmt: skip
    job = asyncio.ensure_future(renewal.watch())
    async with asyncio.timeout(10):
        await told.wait()
    job.cancel()
    await channel.report(1, ())
    assert channel.skew_seconds is not None
    assert abs(channel.skew_seconds) < 5
    await server.plane.certificates.revoke("dc1", "n1", actor=inside("t"))
    with pytest.raises(Unauthenticated, match="is void"):
        await channel.recover(old, asked.csr)
    await channel.close()


async def test_a_rotation_keeps_an_agent_connected_throughout(server: Serving) -> None:
    state = await server.join("dc1", 10)
    channel = server.channel(state)
    certificates = server.plane.certificates
    old = certificates.authorities.issuing
    renewal = Renewal(channel, state, EagerClock(), lambda **_: None)
    streams, ended = 0, asyncio.Event()

    async def follow() -> None:
        nonlocal streams
        streams += 1
        async for _ in channel.messages(None):
            pass
        ended.set()

    async def step(name: str) -> httpx.Response:
        async with server.as_user() as http:
            answer = await http.post("/api/v1/ca/rotate", json={"step": name})
        await server.tls.look()
        await server.change(
            "Tier", "nudge", {"order": hash(name) % 1000}
        )  # wakes streams before their keep-alive
        return answer

    async def until(step_name: str) -> None:
        async with asyncio.timeout(20):
            while (answer := await step(step_name)).status_code == 409:
                assert "dc1/n1" in answer.json()["detail"]
                await asyncio.sleep(0.05)
        assert answer.status_code == 200, answer.text

    tasks = [asyncio.ensure_future(follow()), asyncio.ensure_future(renewal.watch())]
    assert (await step("prepare")).status_code == 200
    await until("issue")
    await until("drop")
    new = certificates.authorities.issuing
    assert new.id != old.id
    assert not ended.is_set()
    assert streams == 1
    assert renewal.identity.issuer == new.id
    await channel.report(1, ())
    async with server.as_user() as http:
        listed = (await http.get("/api/v1/ca/status")).json()
    assert [item["id"] for item in listed["items"]] == [new.id]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await channel.close()


async def test_a_server_is_known_by_its_pin_and_another_is_refused(server: Serving) -> None:
    (pin,) = server.tls.pins

    def ask(**trust: str) -> Any:
        client = Client(server.url, **trust)  # type: ignore[arg-type]  # its other options are numbers
        with client.http:
            return client.ask("GET", "/healthz")

    assert await asyncio.to_thread(ask, ca_hash=pin) == {"status": "ok"}
    with pytest.raises(InvalidInput, match="somebody may be in between"):
        await asyncio.to_thread(ask, ca_hash="sha256:" + "0" * 64)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(ask)


async def test_a_certificate_that_is_renewed_reaches_new_connections_without_a_restart(
    server: Serving,
) -> None:
    state = await server.join("dc1", 10)

    async def serial() -> str:
        context = identity.context(state, shows=False)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        shown: Any = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        del reader
        return x509.facts_of(ssl.DER_cert_to_PEM_cert(shown)).serial

    first = await serial()
    assert await serial() == first
    assert not await server.tls.look()
    server.tls._until = server.plane.clock.now()
    assert await server.tls.look()
    assert await serial() != first
    answer = answer_of(await server.plane.certificates.join(*await _again(server)))
    assert answer["issuer"] == server.plane.certificates.authorities.issuing.id


async def _again(server: Serving) -> tuple[Any, str]:
    from ipaddress import IPv4Address, IPv4Network

    from controlplane.intent import JoinRequest

    token = await server.plane.create_join_token("dc1", 60, 1, actor=inside("t"))
    made = await asyncio.to_thread(csr.request)
    where = (IPv4Address("192.0.2.10"),), (IPv4Network("10.10.1.0/24"),)
    return JoinRequest(token=token.text, cluster="dc1", node="n1", os="linux", addresses=where[0], pod_prefixes=where[1]), made.csr  # fmt: skip


async def test_a_body_that_takes_many_reads_comes_whole(server: Serving) -> None:
    channel = server.channel(await server.join("dc1", 10))
    faults = tuple((f"map m{number}", "driver", "x" * 1000) for number in range(300))
    await channel.report(1, faults)
    ((node, said),) = (await server.plane.rollout(1, 0)).behind
    assert node == "dc1/n1"
    assert said.count("x" * 1000) == len(faults)
    await channel.close()
