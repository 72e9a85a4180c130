"""The process of `causeway serve`: one event loop, the control plane, the REST API on every given socket."""

import asyncio
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from api.connections import BACKLOG, HttpConfig, HttpServer, give_back
from api.rest.app import application
from api.rest.guard.limits import LimitSettings
from api.tls import CA_FILE, OwnCertificate, ServerTls, names_of
from controlplane.access.oidc import OidcSettings
from controlplane.clock import SystemClock
from controlplane.pki.spiffe import DEFAULT_DOMAIN
from controlplane.service import ControlPlane, Settings
from federation.access.rights import Right
from federation.errors import CausewayError, Forbidden, InvalidInput, Unauthenticated, Unavailable

FIRST_PASSED_SOCKET = 3
"""systemd's socket activation: descriptors from 3 on, as many as LISTEN_FDS says."""
STALLED_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Where to listen and where to keep things."""

    data_dir: Path
    """Holds the SQLite file and `admin.token` (0600)."""
    listen: tuple[str, int] = ("127.0.0.1", 8440)
    database_url: str = ""
    """As `controlplane.store.urls` reads it; empty: SQLite in `data_dir`."""
    is_tls: bool = True
    """False: plain HTTP, for who has a proxy before it. Nodes have bearer credentials then."""
    is_plain_allowed_anywhere: bool = False
    """Plain HTTP on other addresses than loopback, too."""
    tls_names: tuple[str, ...] = ()
    """Names and addresses that the server's certificate is to be good for, beside those that it listens on."""
    own_certificate: OwnCertificate | None = None
    """The operator's, instead of one by our own authority."""
    trust_domain: str = DEFAULT_DOMAIN
    """SPIFFE trust domain of the first authority."""
    certificate_life: timedelta = timedelta(hours=12)
    """Of nodes' certificates."""
    certificate_grace: timedelta = timedelta(days=14)
    """How long after its end a node's certificate may come back."""
    needs_approval: bool = False
    """New clusters wait for a second person."""
    oidc: OidcSettings | None = None
    """The identity provider of users; None: API tokens only."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    """How often one may ask."""


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    code = 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (most, most)
    )  # each agent is a descriptor; 1,024 is the usual limit
    try:
        asyncio.run(_serve(settings))
    except* CausewayError as group:
        code = 1
        print(f"causeway serve: {_first(group)}", file=sys.stderr)  # noqa: T201 - the process's last word
    return code


def _first(error: BaseException) -> BaseException:
    """The error itself: task groups wrap it once each."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _serve(settings: ServeSettings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    url = settings.database_url or f"sqlite+aiosqlite:///{settings.data_dir / 'intent.db'}"
    sockets = [listener(settings.listen), *_passed()]
    if not settings.is_tls and not settings.is_plain_allowed_anywhere:
        _must_be_loopback(sockets)
    clock = SystemClock()
    wanted = Settings(
        database_url=url,
        certificate_life=settings.certificate_life,
        certificate_grace=settings.certificate_grace,
        oidc=settings.oidc,
        needs_approval=settings.needs_approval,
    )
    async with ControlPlane.open(wanted, clock) as plane, asyncio.TaskGroup() as group:
        tls = await _secured(plane, settings, sockets, clock) if settings.is_tls else None
        token_file = await ensure_admin_token(plane, settings.data_dir)
        address = "{}://{}:{}".format("https" if tls else "http", *sockets[0].getsockname()[:2])
        said = f"control plane: {address}  console: {address}/console/  admin token: {token_file}"
        if tls:
            said += f"  CA file: {settings.data_dir / CA_FILE}  CA hash: {' '.join(tls.pins)}"
        print(said, file=sys.stderr, flush=True)  # noqa: T201
        app, is_proxied = application(plane, settings.limits), not settings.is_tls
        server = HttpServer(HttpConfig(app, tls.context if tls else None, is_proxied=is_proxied))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        jobs = [group.create_task(give_back(server), name="give memory back")]
        if tls:
            jobs.append(group.create_task(tls.keep(), name="keep the certificate"))
        await server.serve(sockets=sockets)
        for job in jobs:
            job.cancel()


async def _secured(plane: ControlPlane, settings: ServeSettings, sockets: list[socket.socket], clock: SystemClock) -> ServerTls:  # fmt: skip
    authorities = plane.certificates.authorities
    await authorities.open(settings.data_dir, clock.now(), settings.trust_domain)
    names = names_of(sockets, settings.tls_names)
    tls = ServerTls(authorities, names, settings.data_dir, clock, settings.own_certificate)
    tls.start()
    return tls


def _must_be_loopback(sockets: list[socket.socket]) -> None:
    for one in sockets:
        host = one.getsockname()[0]
        if not ip_address(host).is_loopback:
            raise InvalidInput(
                f"--insecure-http serves loopback only, and {host} is not",
                hint="leave it out, put the proxy on this machine, or add --insecure-http-anywhere: tokens and credentials can be read on the way then",
            )


async def ensure_admin_token(plane: ControlPlane, data_dir: Path) -> Path:
    """The file of an administrator's token that works: kept when it does, made anew (0600, atomically) when not."""
    path = data_dir / "admin.token"
    try:
        actor = await plane.access.actor_of(path.read_text().strip())
        actor.must(Right.ACCESS)
    except (OSError, Unauthenticated, Forbidden):
        token = (await plane.access.create_token("admin")).text
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        fresh.replace(path)
    return path


def listener(address: tuple[str, int]) -> socket.socket:
    """A socket that thousands of agents may come to at once. Its connections are cut by the kernel when what was sent is not taken for
    STALLED_SECONDS: by a host that is gone, or an agent that does not read. Raises Unavailable."""
    made = socket.socket(socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_SECONDS * 1000)
    try:
        made.bind(address)
        made.listen(BACKLOG)  # who reads our URL may connect at once, and waits for the first answer
    except OSError as error:
        made.close()
        hint = "stop what listens there, or choose another with --listen HOST:PORT"
        raise Unavailable(
            f"cannot listen on {address[0]}:{address[1]}: {error.strerror}", hint=hint
        ) from error
    return made


def _passed() -> list[socket.socket]:
    if os.environ.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        return []
    return [
        socket.socket(fileno=FIRST_PASSED_SOCKET + n) for n in range(int(os.environ.get("LISTEN_FDS", "0")))
    ]
