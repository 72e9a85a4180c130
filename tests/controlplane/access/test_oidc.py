"""Tokens of an identity provider: which are taken, which are not, and what its being away changes."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.access.oidc import FRESH_SECONDS, KEPT_SECONDS, PAUSE_SECONDS, Oidc, OidcSettings
from federation.errors import InvalidInput, Unauthenticated, Unavailable
from tests.controlplane.access.issuer import AUDIENCE, Issuer
from tests.controlplane.conftest import FakeClock


@pytest.fixture
def oidc(issuer: Issuer, clock: FakeClock) -> Oidc:
    return Oidc(OidcSettings(issuer=issuer.url, audience=AUDIENCE), clock)


def good(issuer: Issuer, clock: FakeClock, **claims: Any) -> str:
    return issuer.token(**{"exp": clock.now().timestamp() + 300, **claims})


@pytest.mark.parametrize("key", ["first", "rsa", "pss", "ed"])
async def test_a_token_by_a_key_that_is_published_names_its_user(
    oidc: Oidc, issuer: Issuer, clock: FakeClock, key: str
) -> None:
    issuer.add_all()
    person = await oidc.verify(good(issuer, clock, key=key, groups=["net", "sec", 7]))
    assert (person.name, person.groups) == ("ann", ("net", "sec"))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://elsewhere.example"}, "not good"), ({"aud": "other"}, "not good"), ({"aud": None}, "not good"), ({"exp": None}, "not good"),
        ({"exp": 1}, "expired"), ({"exp": True}, "no time"), ({"exp": "soon"}, "no time"), ({"nbf": 32_503_680_000}, "not good yet"),
        ({"sub": None}, "names no user"), ({"sub": ""}, "names no user"), ({"sub": "a\nb"}, "names no user"), ({"sub": "x" * 201}, "names no user"),
        ({"kid": "unknown"}, "does not publish"),
    ],
)  # fmt: skip
async def test_a_token_that_is_not_for_us_not_now_or_nobodys_is_refused(
    oidc: Oidc, issuer: Issuer, clock: FakeClock, claims: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unauthenticated, match=said):
        await oidc.verify(good(issuer, clock, **claims))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_token_that_was_altered_or_is_signed_by_nothing_or_by_a_public_key_is_refused(
    oidc: Oidc, issuer: Issuer, clock: FakeClock
) -> None:
    token = good(issuer, clock)
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    private = issuer.keys["first"][0]
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = ec.generate_private_key(ec.SECP256R1())
    forged = [
        f"{head}.{part({**claims, 'sub': 'root'})}.{signature}",
        f"{part({'alg': 'none', 'kid': 'first'})}.{body}.",
        f"{part({'alg': 'HS256', 'kid': 'first'})}.{body}.{signature}",
        jwt.encode(claims, other, "ES256", headers={"kid": "first"}),
        jwt.encode(claims, base64.b64encode(public), "HS256", headers={"kid": "first"}),
        "a.b.c", "..", "é.b.c", f"{part([])}.{body}.{signature}", f"{part({'alg': 'ES256', 'kid': 5})}.{body}.{signature}",
        "x" * 20_000 + ".b.c",
    ]  # fmt: skip
    for token in forged:
        with pytest.raises(Unauthenticated):
            await oidc.verify(token)


async def test_a_key_for_one_algorithm_is_not_used_for_another(oidc: Oidc, issuer: Issuer, clock: FakeClock) -> None:  # fmt: skip
    issuer.add_all()
    private, _ = issuer.keys["rsa"]
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ann", "exp": clock.now().timestamp() + 300}
    with pytest.raises(Unauthenticated):
        await oidc.verify(jwt.encode(claims, private, "PS256", headers={"kid": "rsa"}))


async def test_keys_are_fetched_once_for_many_tokens_and_unknown_names_do_not_flood_the_issuer(
    oidc: Oidc, issuer: Issuer, clock: FakeClock
) -> None:
    for _ in range(20):
        await oidc.verify(good(issuer, clock))
    assert len(issuer.asked) == 2
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await oidc.verify(good(issuer, clock, kid=f"k{number}"))
    assert len(issuer.asked) == 2


async def test_a_new_key_is_found_when_a_token_names_it_and_an_old_one_is_forgotten(
    oidc: Oidc, issuer: Issuer, clock: FakeClock
) -> None:
    await oidc.verify(good(issuer, clock))
    issuer.add("second", ec.generate_private_key(ec.SECP256R1()), "ES256")
    old = good(issuer, clock)
    clock.seconds += PAUSE_SECONDS
    await oidc.verify(good(issuer, clock, key="second"))
    del issuer.keys["first"]
    clock.seconds += FRESH_SECONDS - 400
    await oidc.verify(old)
    clock.seconds += 400
    with pytest.raises(Unauthenticated, match="does not publish"):
        await oidc.verify(good(issuer, clock, key="second", kid="first"))


async def test_known_keys_are_used_on_while_the_issuer_is_away_but_not_for_ever(
    oidc: Oidc, issuer: Issuer, clock: FakeClock
) -> None:
    await oidc.verify(good(issuer, clock))
    issuer.is_away = True
    clock.seconds += FRESH_SECONDS + 1
    assert (await oidc.verify(good(issuer, clock))).name == "ann"
    clock.seconds += KEPT_SECONDS
    with pytest.raises(Unavailable):
        await oidc.verify(good(issuer, clock))
    issuer.is_away = False
    clock.seconds += PAUSE_SECONDS
    assert (await oidc.verify(good(issuer, clock))).name == "ann"


async def test_an_issuer_that_never_answered_is_said_to_be_away(
    oidc: Oidc, issuer: Issuer, clock: FakeClock
) -> None:
    issuer.is_away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await oidc.verify(good(issuer, clock))


@pytest.mark.parametrize("discovery", [{"issuer": "https://elsewhere.example"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": 5}, {"issuer": None}])  # fmt: skip
async def test_a_discovery_document_of_somebody_else_is_not_believed(
    oidc: Oidc, issuer: Issuer, clock: FakeClock, discovery: dict[str, Any]
) -> None:
    issuer.discovery = discovery
    with pytest.raises(Unavailable):
        await oidc.verify(good(issuer, clock))


async def test_the_claim_that_names_users_may_be_another(issuer: Issuer, clock: FakeClock) -> None:
    settings = OidcSettings(issuer=issuer.url, audience=AUDIENCE, user_claim="email", groups_claim="roles")
    oidc = Oidc(settings, clock)
    person = await oidc.verify(good(issuer, clock, email="ann@example.com", roles="ops"))
    assert (person.name, person.groups) == ("ann@example.com", ("ops",))
    with pytest.raises(Unauthenticated, match="not verified"):
        await oidc.verify(good(issuer, clock, email="bob@example.com", email_verified=False))


@pytest.mark.parametrize("issuer_url", ["http://idp.example", "idp.example", "", "ftp://127.0.0.1"])
def test_an_issuer_whose_keys_would_come_unprotected_is_refused(issuer_url: str) -> None:
    with pytest.raises(InvalidInput):
        OidcSettings(issuer=issuer_url, audience=AUDIENCE)
