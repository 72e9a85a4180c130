"""Certificates of nodes, on both databases: who is given one, who it speaks for, and when it is void."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.access.actor import inside
from controlplane.intent import Change, NodeSession, Verb
from controlplane.pki import x509
from controlplane.service import ControlPlane, Settings
from controlplane.store.access.audit import AuditQuery
from federation.errors import CausewayError, Forbidden, InvalidInput, NotFound, Unauthenticated
from federation.resources.metadata import ObjectKey
from tests.controlplane.pki.conftest import request_of

NODE = ObjectKey("Node", "dc1", "", "n1")


async def test_a_node_that_joined_is_known_by_its_certificate(
    trusted: ControlPlane, asked: Any, csr: str
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    session = await trusted.certificates.session_of(issued.chain)
    assert (session.cluster, session.node, session.serial) == ("dc1", "n1", issued.serial)
    assert issued.not_after - trusted.clock.now() == timedelta(hours=12)
    assert trusted.clock.now() - issued.not_before == timedelta(minutes=5)
    assert issued.bundle == trusted.certificates.authorities.issuing.root


async def test_a_request_that_is_none_spends_no_token(trusted: ControlPlane, asked: Any, csr: str) -> None:
    request = await asked()
    with pytest.raises(InvalidInput):
        await trusted.certificates.join(request, "x")
    await trusted.certificates.join(request, csr)
    with pytest.raises(Unauthenticated, match="has been used"):
        await trusted.certificates.join(request, csr)


async def test_joining_again_under_a_name_voids_what_it_had(
    trusted: ControlPlane, asked: Any, csr: str
) -> None:
    first = await trusted.certificates.join(await asked(), csr)
    second = await trusted.certificates.join(await asked(), csr)
    with pytest.raises(Unauthenticated, match="is void"):
        await trusted.certificates.session_of(first.chain)
    with pytest.raises(Unauthenticated, match="is void"):
        await trusted.certificates.recover(first.chain, csr)
    assert (await trusted.certificates.session_of(second.chain)).node == "n1"


@pytest.mark.parametrize("way", ["deleted", "revoked", "joined without TLS", "deleted and made by hand"])
async def test_a_node_that_is_gone_is_refused_at_once(
    trusted: ControlPlane, asked: Any, csr: str, way: str
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    session = await trusted.certificates.session_of(issued.chain)
    standing = await trusted.get(NODE)
    match way:
        case "revoked":
            await trusted.certificates.revoke("dc1", "n1", actor=inside("t"))
        case "joined without TLS":
            await trusted.join(await asked())
        case _:
            await trusted.change([Change(verb=Verb.DELETE, key=NODE)], actor=inside("t"))
    if way == "deleted and made by hand":
        await trusted.change([Change(verb=Verb.CREATE, key=NODE, resource=standing)], actor=inside("t"))
    assert not trusted.certificates.is_good(session)
    for refused in (
        trusted.certificates.session_of(issued.chain),
        trusted.certificates.recover(issued.chain, csr),
        trusted.certificates.sessions.must_stand(session),
    ):
        with pytest.raises(Unauthenticated, match="is void"):
            await refused


async def test_another_replica_refuses_what_was_revoked_here(
    trusted: ControlPlane, asked: Any, csr: str, database_url: str, tmp_path: Path
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    async with ControlPlane.open(Settings(database_url=database_url), trusted.clock) as other:
        await other.certificates.authorities.open(tmp_path, trusted.clock.now())
        assert (await other.certificates.session_of(issued.chain)).node == "n1"
        await trusted.certificates.revoke("dc1", "n1", actor=inside("t"))
        await other.catch_up()
        with pytest.raises(Unauthenticated, match="is void"):
            await other.certificates.session_of(issued.chain)
        again = await trusted.certificates.join(await asked(), csr)
        assert (await other.certificates.session_of(again.chain)).node == "n1"


async def test_a_renewal_is_of_the_same_node_whatever_the_request_says(
    trusted: ControlPlane, asked: Any, csr: str, key: ec.EllipticCurvePrivateKey
) -> None:
    first = await trusted.certificates.join(await asked(), csr)
    session = await trusted.certificates.session_of(first.chain)
    other = request_of(ec.generate_private_key(ec.SECP256R1()))
    second = await trusted.certificates.renew(session, other)
    renewed = await trusted.certificates.session_of(second.chain)
    assert (renewed.cluster, renewed.node, renewed.enrolment) == ("dc1", "n1", session.enrolment)
    assert renewed.serial != session.serial
    assert trusted.certificates.is_good(session)
    await trusted.certificates.revoke("dc1", "n1", actor=inside("t"))
    assert not trusted.certificates.is_good(renewed)


async def test_an_expired_certificate_comes_back_by_its_key_within_the_grace_period(
    trusted: ControlPlane, asked: Any, csr: str, clock: Any
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    clock.seconds += timedelta(days=7).total_seconds()
    assert trusted.certificates.has_expired(await trusted.certificates.session_of(issued.chain))
    thief = request_of(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Forbidden, match="not by the key"):
        await trusted.certificates.recover(issued.chain, thief)
    again = await trusted.certificates.recover(issued.chain, csr)
    assert not trusted.certificates.has_expired(await trusted.certificates.session_of(again.chain))
    clock.seconds += timedelta(days=15).total_seconds()
    with pytest.raises(Unauthenticated, match=r"more than 14 days.* ago") as caught:
        await trusted.certificates.recover(again.chain, csr)
    assert "join token" in caught.value.hint


async def test_a_certificate_of_others_with_the_same_names_is_nobodys(
    trusted: ControlPlane, asked: Any, csr: str
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    ours, now = trusted.certificates.authorities.issuing, trusted.clock.now()
    enrolment = x509.facts_of(issued.chain).enrolment
    uri = x509.facts_of(issued.chain).uris[0]
    root = x509.make_root("Causeway causeway.internal", now)
    issuer = x509.make_intermediate(root, "Causeway causeway.internal", "causeway.internal", now)
    foreign = x509.sign_node(issuer, csr, uri, enrolment, now, timedelta(hours=1))
    elsewhere = uri.replace("causeway.internal", "other.internal")
    for chain in (
        foreign,
        x509.sign_node(ours.issuer, csr, elsewhere, enrolment, now, timedelta(hours=1)),
        x509.sign_node(ours.issuer, csr, uri, "", now, timedelta(hours=1)),
        x509.make_server(ours.issuer, ["localhost"], ours.domain, now, timedelta(hours=1)).certificate,
        ours.intermediate,
        "no certificate",
    ):
        with pytest.raises(Unauthenticated):
            await trusted.certificates.session_of(chain)


async def test_a_credential_is_exchanged_once(trusted: ControlPlane, asked: Any, csr: str) -> None:
    credential = await trusted.join(await asked())
    session = await trusted.access.node_session(credential)
    issued = await trusted.certificates.exchange(session, csr)
    assert (await trusted.certificates.session_of(issued.chain)).node == "n1"
    with pytest.raises(Unauthenticated):
        await trusted.access.node_session(credential)


async def test_who_depends_on_which_authority_is_known(trusted: ControlPlane, asked: Any, csr: str) -> None:
    certificates = trusted.certificates
    issued = await certificates.join(await asked(), csr)
    session = await certificates.session_of(issued.chain)
    old = certificates.authorities.issuing.id
    await certificates.authorities.prepare(trusted.clock.now())
    (holding,) = await certificates.holdings()
    assert (holding.node, holding.authority, holding.trusts) == ("dc1/n1", old, False)
    await certificates.confirm(session, certificates.authorities.trust.digest)
    assert (await certificates.holdings())[0].trusts
    new = await certificates.authorities.issue_from_next()
    assert (await certificates.holdings())[0].authority == old
    renewed = await certificates.renew(session, csr)
    assert (await certificates.holdings())[0].authority == new.id
    await certificates.authorities.drop()
    with pytest.raises(Unauthenticated, match="not issued by this"):
        await certificates.session_of(issued.chain)
    assert (await certificates.session_of(renewed.chain)).node == "n1"


async def test_every_giving_and_taking_is_told_within_its_transaction(
    trusted: ControlPlane, asked: Any, csr: str
) -> None:
    issued = await trusted.certificates.join(await asked(), csr)
    await trusted.certificates.renew(await trusted.certificates.session_of(issued.chain), csr)
    await trusted.certificates.recover(issued.chain, csr)
    await trusted.certificates.revoke("dc1", "n1", actor=inside("t"))
    entries, _, _ = await trusted.access.log(AuditQuery())
    told = [
        (e.deed.action, e.deed.subject.split()[0], e.deed.actor)
        for e in entries
        if "certificate" in e.deed.action
    ]
    assert told == [
        ("certificate.issue", "dc1/n1", "join dc1/n1"),
        ("certificate.renew", "dc1/n1", "node dc1/n1"),
        ("certificate.recover", "dc1/n1", "node dc1/n1"),
        ("certificate.revoke", "dc1/n1", "t"),
    ]
    with pytest.raises(NotFound):
        await trusted.certificates.revoke("dc1", "nobody", actor=inside("t"))


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"os": "windows"}, "for windows, not linux"), ({"node": "n2"}, "for the node n2, not n1"), ({"role": "relay"}, "for a relay"),
        ({"prefix": "198.51.100.0/24", "source": "192.0.2.7"}, "not from 192.0.2.7"), ({"prefix": "198.51.100.0/24"}, "an unknown address"),
    ],
)  # fmt: skip
async def test_a_token_is_good_for_what_it_is_bound_to_only(
    trusted: ControlPlane, asked: Any, csr: str, bounds: dict[str, str], said: str
) -> None:
    request = await asked(**bounds)
    with pytest.raises(Forbidden, match=said):
        await trusted.certificates.join(request, csr)
    (token,) = await trusted.list_join_tokens()
    assert (token.uses_left, token.used) == (1, ())


async def test_who_used_a_token_is_kept(trusted: ControlPlane, asked: Any, csr: str) -> None:
    request = await asked(source="198.51.100.9", prefix="198.51.100.0/24", node="n1", os="linux")
    await trusted.certificates.join(request, csr)
    (token,) = await trusted.list_join_tokens()
    (use,) = token.used
    assert (use.cluster, use.node, use.source) == ("dc1", "n1", "198.51.100.9")
    assert use.at == trusted.clock.now().isoformat()
    assert (token.created_by, token.uses_left) == ("t", 0)


async def test_a_session_without_a_certificate_stands_with_its_node(trusted: ControlPlane) -> None:
    with pytest.raises(CausewayError):
        await trusted.certificates.sessions.must_stand(NodeSession(cluster="dc1", node="nobody"))


async def test_what_expired_long_ago_is_forgotten(
    trusted: ControlPlane, asked: Any, csr: str, clock: Any
) -> None:
    from controlplane.store import pki

    issued = await trusted.certificates.join(await asked(), csr)

    async def kept() -> bool:
        await trusted.duties.round()
        async with trusted.database.reading() as connection:
            return await pki.find_certificate(connection, issued.serial) is not None

    clock.seconds += timedelta(days=90).total_seconds()
    assert await kept()
    clock.seconds += timedelta(days=1).total_seconds()
    assert not await kept()
