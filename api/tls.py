"""TLS of `causeway serve`: the server's certificate, renewed while it serves.

One port serves agents, which show a certificate, and users, who show none. A certificate that does not verify up to a root of ours ends the handshake.
The listener's own context never changes; for each connection its SNI callback (which OpenSSL calls for clients without SNI, too) puts the newest in its
place, so that a new certificate, or another set of roots, needs no restart and touches no open connection.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from controlplane.clock import Clock
from controlplane.pki import x509
from controlplane.pki.authorities import Authorities, Trust, write_private
from federation.errors import CausewayError, InvalidInput

LIFE = timedelta(days=7)
"""Of the server's certificate; it is made anew at half of it."""
LOOK_SECONDS = 2.0
"""How late this replica may learn that another one changed the authorities, or that the operator's files are new."""
CA_FILE, SERVER_FILE = "ca.pem", "server.pem"
LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """Files of the operator's."""

    certificate: Path
    """PEM, with what stands between it and its root."""
    key: Path
    root: Path
    """PEM of its root, which agents are told to trust beside ours."""


class ServerTls:
    """Of one process. `context` is the listener's."""

    def __init__(self, authorities: Authorities, names: Sequence[str], folder: Path, clock: Clock, own: OwnCertificate | None = None) -> None:  # fmt: skip
        self.names = tuple(dict.fromkeys(names))
        self.context = server_context()
        self.context.sni_callback = self._choose
        self._authorities = authorities
        self._folder = folder
        self._clock = clock
        self._own = own
        self._made_of: Trust | None = None
        self._newest: ssl.SSLContext | None = None
        self._until = clock.now()
        self._looked = (0.0, 0.0)

    def start(self) -> None:
        """Have a certificate. Raises InvalidInput for files that are not as they should be."""
        if self._own:
            self._authorities.extra_roots = self._read_own(self._own)
        self._make()
        self._authorities.on_change = self._follow

    @property
    def pins(self) -> tuple[str, ...]:
        """`sha256:…` that who joins may be given: of the root above this server's certificate."""
        return (self._authorities.server_pin,)

    async def keep(self) -> None:
        """For ever: follow the authorities, renew the certificate, read the operator's files again."""
        said = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                said = ""
            except CausewayError as error:
                if error.message != said:
                    said = error.message
                    LOG.warning("the server's certificate stays as it is", why=said)

    async def look(self) -> bool:
        """Once; whether there is a new certificate or a new set of roots. Raises Unavailable, InvalidInput."""
        await self._authorities.refresh()
        is_news = self._authorities.trust != self._made_of
        if self._own and self._times(self._own) != self._looked:
            self._authorities.extra_roots = self._read_own(self._own)
            is_news = True
        is_due = not self._own and self._clock.now() >= self._until
        if is_news or is_due:
            self._make()
        return is_news or is_due

    def _follow(self) -> None:
        """This replica has changed the authorities itself; what fails is tried again by `keep`."""
        try:
            self._make()
        except CausewayError as error:
            LOG.warning("the server's certificate stays as it is", why=error.message)

    def _make(self) -> None:
        context, bundle = server_context(), self._authorities.trust.bundle
        if self._own:
            self._load(context, self._own.certificate, self._own.key)
            self._looked = self._times(self._own)
        else:
            issuing, now = self._authorities.issuing, self._clock.now()
            made = x509.make_server(issuing.issuer, self.names, issuing.domain, now, LIFE)
            path = self._folder / SERVER_FILE
            write_private(path, (made.key + made.certificate + issuing.intermediate).encode())
            context.load_cert_chain(path)
            self._until = now + (x509.expiry_of(made.certificate) - now) / 2
        context.load_verify_locations(cadata="".join(a.root for a in self._authorities.all))
        fresh = self._folder / f"{CA_FILE}.new"
        fresh.write_text(bundle)
        fresh.replace(self._folder / CA_FILE)
        self._newest = context
        self._made_of = self._authorities.trust

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._newest is not None:
            connection.context = self._newest

    def _read_own(self, own: OwnCertificate) -> str:
        try:
            root = own.root.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"--tls-ca {own.root} cannot be read: {error}") from error
        x509.pin_of(root)
        return root

    def _load(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"the server's certificate {certificate} with the key {key} cannot be used: {error}",
                hint="PEM is needed, the certificate first, and the key that belongs to it without a password",
            ) from error

    def _times(self, own: OwnCertificate) -> tuple[float, float]:
        try:
            return own.certificate.stat().st_mtime, own.key.stat().st_mtime
        except OSError as error:
            raise InvalidInput(f"{error.filename}: {error.strerror}") from error


def names_of(sockets: Sequence[socket.socket], more: Sequence[str]) -> tuple[str, ...]:
    """The names and addresses that a server on these sockets is asked by: theirs, this machine's, loopback, and those that are configured."""
    found = [*more, "localhost", "127.0.0.1", "::1", socket.gethostname()]
    for one in sockets:
        host = one.getsockname()[0]
        if ip_address(host).is_unspecified:
            found += [str(entry[4][0]).partition("%")[0] for entry in _own_addresses()]
        else:
            found.append(host)
    return tuple(dict.fromkeys(name for name in found if name and "_" not in name))


def _own_addresses() -> list[Any]:
    try:
        return socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return []


def server_context() -> ssl.SSLContext:
    """What asks for a client's certificate and does without; it has none of its own yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= (
        ssl.OP_NO_TICKET
    )  # a resumed session would bring a certificate that was verified some time ago
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context
