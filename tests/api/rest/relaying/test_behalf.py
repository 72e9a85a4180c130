"""Whom a relay may speak for at the control plane, over real TLS."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.rest.relaying import behalf
from controlplane.access.actor import inside
from controlplane.intent import JoinRequest, Verb
from controlplane.pki import x509
from federation.errors import Forbidden, NotFound, Unauthenticated
from nodeagent.control import csr, identity
from tests.scenarios.serving import Serving, serving

REPORT = ("POST", "/agent/v1/report", {"revision": 7})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as found:
        yield found


def header(state: Path) -> dict[str, str]:
    return {behalf.HEADER: behalf.written(identity.key_and_certificate(state)[1])}


async def asked(server: Serving, shows: Path, what: tuple[str, str, Any], **headers: str) -> httpx.Response:
    verify = identity.context(shows)
    async with httpx.AsyncClient(base_url=server.url, verify=verify, headers=headers) as http:
        return await http.request(what[0], what[1], json=what[2])


async def test_a_relay_speaks_for_nodes_of_its_own_cluster(server: Serving) -> None:
    node, relay = await server.join("dc1", 10), await server.join_relay("dc1")
    assert (await asked(server, relay, REPORT, **header(node))).status_code == 204
    key = ("PUT", "/agent/v1/key", {"publicKey": "A" * 43 + "=", "listenPort": 1})
    assert (await asked(server, relay, key, **header(node))).status_code == 204
    assert (await asked(server, relay, ("POST", "/agent/v1/counts", {"counts": []}), **header(node))).status_code == 204  # fmt: skip
    assert dict((await server.plane.rollout(8, 0)).behind)["dc1/n1"] == "last reported revision 7"


async def test_a_relay_speaks_for_no_node_of_another_cluster(server: Serving) -> None:
    foreign, relay = await server.join("aws1", 20), await server.join_relay("dc1")
    answer = await asked(server, relay, REPORT, **header(foreign))
    assert answer.status_code == 403
    assert "speaks for nodes of dc1, not for aws1/n1" in answer.json()["detail"]


async def test_a_relay_speaks_neither_for_itself_nor_for_another_relay(server: Serving) -> None:
    relay, other = await server.join_relay("dc1"), await server.join_relay("dc1", "r2")
    for headers in ({}, header(relay), header(other)):
        assert (await asked(server, relay, REPORT, **headers)).status_code == 403


async def test_a_nodes_certificate_is_no_relays(server: Serving) -> None:
    node, other = await server.join("dc1", 10), await server.join("aws1", 20)
    for whom in (node, other):
        answer = await asked(server, node, REPORT, **header(whom))
        assert answer.status_code == 403
        assert "is no relay" in answer.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["revoked", "deleted", "self-signed", "not base64", "of an earlier enrolment"]
)
async def test_a_relay_speaks_for_no_node_that_does_not_stand(server: Serving, kind: str) -> None:
    node, relay = await server.join("dc1", 10), await server.join_relay("dc1")
    headers = header(node)
    match kind:
        case "revoked":
            await server.plane.certificates.revoke("dc1", "n1", actor=inside("t"))
        case "deleted":
            await server.change("Node", "n1", {}, Verb.DELETE, cluster="dc1")
        case "self-signed":
            own = x509.make_root("n1", server.plane.clock.now())
            headers = {behalf.HEADER: behalf.written(own.certificate)}
        case "not base64":
            headers = {behalf.HEADER: "n1"}
        case _:
            await server.join("dc1", 10)
    assert (await asked(server, relay, REPORT, **headers)).status_code == 401


@pytest.mark.parametrize("kind", ["deleted", "joined anew"])
async def test_a_relay_that_does_not_stand_speaks_for_nobody(server: Serving, kind: str) -> None:
    node, relay = await server.join("dc1", 10), await server.join_relay("dc1")
    context = identity.context(relay)  # what it had
    if kind == "deleted":
        await server.change("Relay", "r1", {"names": ["127.0.0.1"]}, Verb.DELETE, cluster="dc1")
    else:
        await server.join_relay("dc1")
    async with httpx.AsyncClient(base_url=server.url, verify=context) as http:
        assert (await http.post(REPORT[1], json=REPORT[2], headers=header(node))).status_code == 401
        assert (await http.get("/agent/v1/stream")).status_code == 401


async def test_a_node_is_renewed_through_a_relay_by_a_proof_of_its_own_key_only(server: Serving) -> None:
    node, relay = await server.join("dc1", 10), await server.join_relay("dc1")
    key, _ = identity.key_and_certificate(node)
    fresh, thief = await asyncio.to_thread(csr.renewal, key), await asyncio.to_thread(csr.request)

    async def renewed(csr_text: str, proof: str) -> httpx.Response:
        asks = ("POST", "/agent/v1/renew", {"csr": csr_text, "proof": proof})
        return await asked(server, relay, asks, **header(node))

    for text, proof in ((thief.csr, ""), (thief.csr, fresh.proof), (thief.csr, thief.csr)):
        answer = await renewed(text, proof)
        assert answer.status_code == 403, answer.text
    given = await renewed(fresh.csr, fresh.proof)
    assert given.status_code == 201, given.text
    facts = x509.facts_of(given.json()["certificate"])
    assert facts.uris == ("spiffe://causeway.internal/cluster/dc1/node/n1",)


async def test_a_relay_renews_itself_and_takes_up_its_names_as_they_are_declared_now(server: Serving) -> None:
    relay = await server.join_relay("dc1")
    await server.change("Relay", "r1", {"names": ["127.0.0.1", "r1.example"]}, cluster="dc1")
    channel = server.channel(relay)
    answer = await channel.renew((await asyncio.to_thread(csr.request)).csr)
    text = x509.certificate_of(answer["certificate"]).extensions
    assert "r1.example" in str(list(text))
    facts = x509.facts_of(answer["certificate"])
    assert facts.not_after - facts.not_before <= timedelta(hours=13)
    await channel.close()


async def test_a_relay_joins_by_a_token_of_its_role_after_it_was_declared(server: Serving) -> None:
    made = await asyncio.to_thread(csr.request)

    async def join(role: str, token_role: str) -> None:
        from controlplane.intent import TokenBounds

        token = await server.plane.create_join_token(
            "dc1", 60, 1, actor=inside("t"), bounds=TokenBounds(role=token_role)
        )
        asks = JoinRequest(token=token.text, cluster="dc1", node="r9", os="linux", addresses=(), pod_prefixes=(), role=role)  # fmt: skip
        await server.plane.certificates.join(asks, made.csr)

    with pytest.raises(Forbidden, match="for a relay, not for a node"):
        await join("node", "relay")
    with pytest.raises(Forbidden, match="for a node, not for a relay"):
        await join("relay", "node")
    with pytest.raises(NotFound, match="relay dc1/r9 does not exist"):
        await join("relay", "relay")
    with pytest.raises(Unauthenticated):
        await server.plane.certificates.session_of(x509.make_root("r9", server.plane.clock.now()).certificate)


async def test_a_rotation_waits_for_relays_too(server: Serving) -> None:
    await server.join_relay("dc1")
    (holding,) = await server.plane.certificates.holdings()
    assert holding.node == "dc1/r1 (relay)"
    assert holding.trusts


async def test_agents_are_told_of_no_relay(server: Serving) -> None:
    await server.join_relay("dc1")
    channel = server.channel(await server.join("dc1", 10))
    kinds = set()
    async for message in channel.messages(None):
        if type(message).__name__ == "InSync":
            break
        kinds.add(getattr(message, "document", {}).get("kind"))
    assert "Node" in kinds
    assert "Relay" not in kinds
    await channel.close()


async def test_a_relay_reports_for_many_nodes_at_once_and_hears_which_are_none_of_its_own(
    server: Serving,
) -> None:
    node, foreign, relay = (
        await server.join("dc1", 10),
        await server.join("aws1", 20),
        await server.join_relay("dc1"),
    )
    listed = [{"behalf": header(state)[behalf.HEADER], "revision": 7} for state in (node, foreign)]
    listed += [{"behalf": "n1", "revision": 7}, {"revision": 7}, {**listed[0], "revision": "x"}, {**listed[0], "revision": 9}]  # fmt: skip
    answer = await asked(server, relay, ("POST", "/agent/v1/reports", {"reports": listed}))
    assert answer.status_code == 200
    refused = [(item["index"], item["code"]) for item in answer.json()["refused"]]
    assert refused == [(1, "forbidden"), (2, "unauthenticated"), (3, "invalid"), (4, "invalid")]
    behind = dict((await server.plane.rollout(9, 0)).behind)
    assert "dc1/n1" not in behind
    assert behind["aws1/n1"] == "never reported"
    for wrong in ([], [{}] * 501, "x", None):
        answer = await asked(server, relay, ("POST", "/agent/v1/reports", {"reports": wrong}))
        assert answer.status_code == 422
    assert (await asked(server, node, ("POST", "/agent/v1/reports", {"reports": listed}))).status_code == 403
