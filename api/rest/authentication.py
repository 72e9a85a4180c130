"""Who is asking. Every route declares its permission. An agent is known by the certificate of its connection; by a bearer credential only where
there is no TLS of ours."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from fastapi import Request

from api.rest.bodies import refuse_unfit
from api.rest.relaying import behalf
from controlplane.intent import NodeSession
from controlplane.service import ControlPlane
from federation.errors import Unauthenticated


class Permission(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    USER = "user"
    NODE = "node"
    """A node; or a relay on its behalf."""
    MEMBER = "member"
    """A node, or a relay for itself."""
    NODE_CREDENTIAL = "node credential"
    """A bearer credential of a node also where there is TLS: to exchange it."""


def plane_of(request: Request) -> ControlPlane:
    """The control plane that this application serves."""
    plane: ControlPlane = request.app.state.plane
    return plane


def require(permission: Permission) -> Callable[[Request], Awaitable[Any]]:
    """The dependency of a route: the user's name, or the node's session."""

    async def check(request: Request) -> Any:
        refuse_unfit(request)
        if permission is Permission.PUBLIC:
            return None
        plane = plane_of(request)
        if permission in (Permission.NODE, Permission.MEMBER) and (shown := _shown(request)) is not None:
            session = await _by_certificate(plane, shown)
            return await behalf.speaker(request, session, is_for_itself=permission is Permission.MEMBER)
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("no credential", hint="send Authorization: Bearer <token>")
        if permission is Permission.USER:
            return await plane.user_of(credential)
        return await plane.node_session(credential)

    check.permission = permission  # type: ignore[attr-defined]  # read by the test that no route forgot it
    return check


def has_tls(request: Request) -> bool:
    """Whether the connection has TLS of ours, not a proxy's."""
    return _shown(request) is not None


def _shown(request: Request) -> list[str] | None:
    """The certificates that the connection has shown, in PEM; None: it has no TLS of ours."""
    tls = request.scope.get("extensions", {}).get("tls")
    return None if tls is None else tls["client_cert_chain"]


async def _by_certificate(plane: ControlPlane, shown: list[str]) -> NodeSession:
    if not shown:
        hint = "a bearer credential of before TLS is exchanged once: causeway join --exchange"
        raise Unauthenticated("the connection has shown no client certificate", hint=hint)
    session = await plane.certificates.session_of(shown[0])
    if plane.certificates.has_expired(session):
        raise Unauthenticated("the certificate expired while the connection stood", hint="connect again")
    return session
