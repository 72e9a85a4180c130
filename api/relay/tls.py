"""TLS of a relay: its one certificate, which it also shows to the control plane; clients' certificates from roots of the control plane's authorities."""

import ssl
from pathlib import Path

import structlog

from api.relay.roots import Roots
from api.tls import server_context
from nodeagent.control import identity

LOG = structlog.get_logger("relay")


class RelayTls:
    """Of one process. `context` is the listener's; each connection is given the newest one."""

    def __init__(self, state_dir: Path, roots: Roots) -> None:
        self.context = server_context()
        self.context.sni_callback = self._choose
        self._state_dir = state_dir
        self._roots = roots
        self._newest: ssl.SSLContext | None = None

    def start(self) -> None:
        """Have a certificate. Raises OSError, ssl.SSLError."""
        self._make()

    def follow(self) -> None:
        """There is another certificate, or something else to trust. What fails leaves what stands."""
        try:
            self._make()
        except (OSError, ssl.SSLError) as error:
            LOG.error("the server's certificate stays as it is", detail=str(error))

    def _make(self) -> None:
        context = server_context()
        context.load_cert_chain(self._state_dir / identity.FILE)
        if roots := "".join(dict.fromkeys(authority.root for authority in self._roots.all)):
            context.load_verify_locations(cadata=roots)
        self._newest = context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._newest is not None:
            connection.context = self._newest
