"""Users who come with a token of an identity provider: OpenID Connect's ID tokens, or access tokens that are JWTs (RFC 9068).

What counts is the signature by a key that the issuer publishes, the issuer, the audience and the time. Keys are fetched from where the issuer's
discovery document says (OpenID Connect Discovery 1.0), kept, and used on while the issuer is away.
"""

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import structlog

from controlplane.clock import Clock
from federation.errors import InvalidInput, Unauthenticated, Unavailable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key. Never `none`, nor one by a shared secret, for which a public key could be taken."""
LEEWAY_SECONDS = 30
FRESH_SECONDS = 600.0
"""How long fetched keys are used without asking again."""
KEPT_SECONDS = 86_400.0
"""How long they are used while the issuer does not answer."""
PAUSE_SECONDS = 15.0
"""Between two fetches: tokens with invented key ids must not make us flood the issuer."""
FETCH_SECONDS = 5.0
MOST_BYTES = 1_000_000
MOST_TOKEN = 16_384
MOST_GROUPS = 1_000
LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """Of one identity provider."""

    issuer: str
    """Its URL, as `iss` says it."""
    audience: str
    """What `aud` has to hold: our client id there."""
    user_claim: str = "sub"
    """What names a user in role bindings. `email` and `preferred_username` may be given anew to others by some providers."""
    groups_claim: str = "groups"
    ca_file: Path | None = None
    """Roots that its certificate may come from; None: those of this machine."""

    def __post_init__(self) -> None:
        url = httpx.URL(self.issuer)
        is_local = url.host in ("127.0.0.1", "::1", "localhost")
        if not url.host or not (url.scheme == "https" or (url.scheme == "http" and is_local)):
            raise InvalidInput(
                f"the OIDC issuer {self.issuer!r} is not an https URL",
                hint="its keys decide who gets in: they must not come over plain HTTP",
            )
        if not self.audience:
            raise InvalidInput(
                "an OIDC audience is needed", hint="the client id that tokens for Causeway are made for"
            )


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the issuer knows, and the groups that it says they are in."""

    name: str
    groups: tuple[str, ...]


class Oidc:
    """Verifies tokens of one issuer."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Person:
        """Whom a token speaks of. Raises Unauthenticated, or Unavailable when its key cannot be had."""
        key = await self._key_of(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self.settings.audience,
                issuer=self.settings.issuer,
                options={"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )  # fmt: skip
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not good: {error}", hint=self._hint()) from error
        self._must_be_timely(claims)
        name = claims.get(self.settings.user_claim)
        if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
            raise Unauthenticated(
                f"the token names no user: {self.settings.user_claim} is missing", hint=self._hint()
            )
        if self.settings.user_claim == "email" and claims.get("email_verified") is False:
            raise Unauthenticated("the token's e-mail address is not verified", hint=self._hint())
        groups = claims.get(self.settings.groups_claim, [])
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Person(name, tuple(g for g in listed[:MOST_GROUPS] if isinstance(g, str)))

    def _must_be_timely(self, claims: dict[str, Any]) -> None:
        """By our clock, not the library's."""
        now = self._clock.now().timestamp()
        for name in ("exp", "nbf"):
            value = claims.get(name)
            if name in claims and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise Unauthenticated(f"the token is not good: {name} is no time", hint=self._hint())
        if claims["exp"] + LEEWAY_SECONDS <= now:
            raise Unauthenticated("the token has expired", hint="get a new one from the identity provider")
        if claims.get("nbf", 0) - LEEWAY_SECONDS > now:
            raise Unauthenticated("the token is not good yet", hint="are the clocks right?")

    async def _key_of(self, token: str) -> jwt.PyJWK:
        if len(token) > MOST_TOKEN:
            raise Unauthenticated("the token is too long", hint=self._hint())
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not good: {error}", hint=self._hint()) from error
        name = header.get("kid", "")
        if header.get("alg") not in ALGORITHMS or not isinstance(name, str):
            raise Unauthenticated("the token is signed by an algorithm that is not taken", hint=self._hint())
        await self._refresh(name)
        if (key := self._keys.get(name)) is None:
            raise Unauthenticated(
                "the token is signed by a key that the issuer does not publish", hint=self._hint()
            )
        return key

    async def _refresh(self, wanted: str) -> None:
        """Fetch the keys when they are old, or one is not known, and not too often."""
        async with self._fetching:
            now = self._clock.monotonic()
            is_fresh = now - self._fetched < FRESH_SECONDS and wanted in self._keys
            if is_fresh or now - self._tried < PAUSE_SECONDS:
                self._must_be_kept(now)
                return
            self._tried = now
            try:
                self._keys = await self._fetch()
                self._fetched = now
            except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError, OSError) as error:
                LOG.warning(
                    "the issuer's keys could not be fetched", issuer=self.settings.issuer, why=str(error)
                )
                self._must_be_kept(now)

    def _must_be_kept(self, now: float) -> None:
        if now - self._fetched >= KEPT_SECONDS:
            self._keys = {}
        if not self._keys:
            raise Unavailable(
                f"the keys of the identity provider {self.settings.issuer} cannot be had",
                hint="it does not answer, or not as OpenID Connect says; API tokens work meanwhile",
            )

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        own = self.settings.ca_file
        roots = ssl.create_default_context(cafile=own) if own else True
        async with httpx.AsyncClient(verify=roots, timeout=FETCH_SECONDS) as client:
            found = await _json(
                client, self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if found["issuer"] != self.settings.issuer:
                raise ValueError(f"the discovery document is of {found['issuer']!r}")
            where = httpx.URL(found["jwks_uri"])
            if where.scheme != httpx.URL(self.settings.issuer).scheme:
                raise ValueError("the keys are offered over another scheme than the issuer's")
            listed = (await _json(client, str(where)))["keys"]
        keys = {}
        for item in listed:
            if item.get("use", "sig") != "sig" or item.get("kty") == "oct":
                continue
            try:
                keys[item.get("kid", "")] = jwt.PyJWK(item)
            except jwt.PyJWTError:  # a kind of key that is not known here
                continue
        return keys

    def _hint(self) -> str:
        return f"tokens of {self.settings.issuer} for {self.settings.audience} are taken, and API tokens"


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    body = bytearray()
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError(f"{url} answers with more than {MOST_BYTES} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} does not answer with an object")
    return found
