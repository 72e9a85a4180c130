"""The authorities of one control plane: which is trusted, which signs, and the way from one to the next.

An authority is a root and one intermediate below it. Its certificates, and the intermediate's key sealed by `ca.secret`, are in the database, so that
every replica that was given this one file (0600) signs alike, and a copy of the database alone signs nothing. The root's key is written once, into a
file beside it, for the operator to take away.

    next ──issue──▶ issuing ──(another is issued from)──▶ retired ──drop──▶ gone
All that are there are trusted; one is issuing.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from controlplane.pki import x509
from controlplane.pki.spiffe import DEFAULT_DOMAIN
from controlplane.store import pki
from controlplane.store.database import Connection, Database
from federation.errors import Conflict, InvalidInput, NotFound

NEXT, ISSUING, RETIRED = "next", "issuing", "retired"
SECRET, ROOT_KEY = "ca.secret", "ca-root-{}.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One of them. `key` is the intermediate's."""

    id: str
    domain: str
    root: str
    intermediate: str
    key: str = field(repr=False)
    state: str
    created: str

    @property
    def pin(self) -> str:
        """`sha256:…` of the root's public key."""
        return x509.pin_of(self.root)

    @property
    def issuer(self) -> x509.Made:
        """What signs."""
        return x509.Made(self.intermediate, self.key)


@dataclass(frozen=True, slots=True)
class Trust:
    """What agents and users are to trust: roots in PEM, and which authority signs now."""

    bundle: str
    issuing: str

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle, hexadecimal."""
        return digest_of(self.bundle)


def digest_of(bundle: str) -> str:
    """SHA-256 of a bundle, hexadecimal."""
    return hashlib.sha256(bundle.encode()).hexdigest()


class Authorities:
    """Those of one database. Empty until `open`, or `read` by who has no secret."""

    def __init__(self, database: Database) -> None:
        self.all: tuple[Authority, ...] = ()
        self.extra_roots = ""
        """PEM of roots that are not ours: of a server's certificate that the operator gave."""
        self.on_change: Callable[[], None] | None = None
        """Called when there is something else to trust, or to sign with."""
        self._database = database
        self._folder = Path()
        self._secret = b""

    async def open(self, folder: Path, now: datetime, domain: str = DEFAULT_DOMAIN) -> None:
        """Know them all; the first start makes the first. Raises InvalidInput when the secret here is not the one they were sealed with."""
        self._folder = folder
        async with self._database.transaction() as connection:
            standing = await pki.change_authorities(connection)
            self._secret = secret_of(folder, may_make=not standing)
            if not standing:
                await self._make(connection, domain, ISSUING, now)
        await self.refresh()

    async def refresh(self) -> bool:
        """Know what any replica has changed; whether it was news. Raises Unavailable, InvalidInput."""
        async with self._database.reading() as connection:
            rows = await pki.authorities(connection)
        if [(r.id, r.state) for r in rows] == [(a.id, a.state) for a in self.all]:
            return False
        known = {authority.id: authority for authority in self.all}
        self.all = tuple(
            replace(known[row.id], state=row.state) if row.id in known else self._opened(row) for row in rows
        )
        if self.on_change is not None:
            self.on_change()
        return True

    @property
    def issuing(self) -> Authority:
        """The one that signs. Raises NotFound when there is none."""
        for authority in self.all:
            if authority.state == ISSUING:
                return authority
        raise NotFound("this control plane has no certificate authority", hint="it serves without TLS")

    @property
    def server_pin(self) -> str:
        """`sha256:…` of the root above this server's certificate: the one to give to who joins now. Raises NotFound."""
        return x509.pin_of(self.extra_roots or self.issuing.root)

    @property
    def trust(self) -> Trust:
        """What is to be trusted now."""
        roots = dict.fromkeys(authority.root for authority in self.all)
        return Trust("".join(roots) + self.extra_roots, self.issuing.id)

    async def prepare(self, now: datetime) -> Authority:
        """A new root and intermediate beside what stands, trusted, not signing yet. Raises Conflict when one waits already."""
        async with self._database.transaction() as connection:
            self._must_be_free(await pki.change_authorities(connection))
            made = await self._make(connection, self.issuing.domain, NEXT, now)
        await self.refresh()
        return next(authority for authority in self.all if authority.id == made)

    async def take(self, root: str, issuer: x509.Made, now: datetime) -> Authority:
        """A customer's, beside what stands. Raises InvalidInput, Conflict."""
        x509.check_issuer(root, issuer, now)
        async with self._database.transaction() as connection:
            self._must_be_free(await pki.change_authorities(connection))
            made = await self._store(connection, root, issuer, (self.issuing.domain, NEXT), now)
        await self.refresh()
        return next(authority for authority in self.all if authority.id == made)

    async def issue_from_next(self) -> Authority:
        """The one that waits signs; the one that signed is trusted still. Raises Conflict when none waits."""
        async with self._database.transaction() as connection:
            rows = await pki.change_authorities(connection)
            waiting = [row for row in rows if row.state == NEXT]
            if not waiting:
                raise Conflict("no authority waits", hint="first: causeway ca rotate --step prepare")
            for row in rows:
                if row.state == ISSUING:
                    await pki.set_state(connection, row.id, RETIRED)
            await pki.set_state(connection, waiting[0].id, ISSUING)
        await self.refresh()
        return self.issuing

    async def drop(self) -> tuple[str, ...]:
        """Trust no more what does not sign any more; their ids. Raises Conflict when there is none."""
        async with self._database.transaction() as connection:
            retired = [r.id for r in await pki.change_authorities(connection) if r.state == RETIRED]
            if not retired:
                raise Conflict("no authority is retired", hint="first: causeway ca rotate --step issue")
            for one in retired:
                await pki.drop_authority(connection, one)
        await self.refresh()
        return tuple(retired)

    def _must_be_free(self, rows: Sequence[pki.AuthorityRow]) -> None:
        if any(row.state != ISSUING for row in rows):
            hint = "see causeway ca show; end that one with --step issue, then --step drop"
            raise Conflict("a rotation is under way", hint=hint)

    async def _make(self, connection: Connection, domain: str, state: str, now: datetime) -> str:
        root = x509.make_root(f"Causeway {domain}", now)
        issuer = x509.make_intermediate(root, f"Causeway {domain}", domain, now)
        made = await self._store(connection, root.certificate, issuer, (domain, state), now)
        write_private(self._folder / ROOT_KEY.format(made), root.key.encode())
        return made

    async def _store(self, connection: Connection, root: str, issuer: x509.Made, kept: tuple[str, str], now: datetime) -> str:  # fmt: skip
        made = digest_of(issuer.certificate)[:16]
        domain, state = kept
        sealed = x509.seal(self._secret, made, issuer.key)
        await pki.add_authority(
            connection,
            pki.AuthorityRow(
                id=made,
                domain=domain,
                root=root,
                intermediate=issuer.certificate,
                sealed=sealed,
                state=state,
                created=now.isoformat(),
            ),
        )
        return made

    def _opened(self, row: pki.AuthorityRow) -> Authority:
        path = self._folder / SECRET
        try:
            key = x509.unseal(self._secret, row.id, row.sealed)
        except InvalidInput as error:
            raise InvalidInput(
                f"{path} is not the secret that this database's certificate authority is kept under",
                hint="copy ca.secret (0600) from the data directory of a replica that runs",
            ) from error
        return Authority(
            id=row.id,
            domain=row.domain,
            root=row.root,
            intermediate=row.intermediate,
            key=key,
            state=row.state,
            created=row.created,
        )


def secret_of(folder: Path, *, may_make: bool) -> bytes:
    """The secret in a data directory; made when it may be. Raises InvalidInput when it is missing, others can read it, or it is none."""
    path = folder / SECRET
    try:
        if may_make and not path.exists():
            write_private(path, os.urandom(x509.SECRET_BYTES).hex().encode() + b"\n")
        mode, text = path.stat().st_mode, path.read_text().strip()
        secret = bytes.fromhex(text)
    except OSError as error:
        hint = "copy ca.secret (0600) from the data directory of a replica that runs; without it no replica can sign for nodes"
        raise InvalidInput(
            f"the secret of the certificate authority, {path}: {error.strerror}", hint=hint
        ) from error
    except ValueError as error:
        raise InvalidInput(f"{path} does not hold a secret", hint="it is 64 hexadecimal digits") from error
    if mode & 0o077:
        raise InvalidInput(f"{path} is open to other users", hint=f"run: chmod 600 {path}")
    if len(secret) != x509.SECRET_BYTES:
        raise InvalidInput(f"{path} does not hold a secret", hint="it is 64 hexadecimal digits")
    return secret


def write_private(path: Path, content: bytes) -> None:
    """A file of its owner alone (0600), whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
