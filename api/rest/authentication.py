"""Who is asking. Every route declares what it takes: a user's right, or to be a node, or nothing. An agent is known by the certificate of its
connection; by a bearer credential only where there is no TLS of ours.

A right that is held somewhere opens the route; whether it is held for the object in question, the control plane says.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from fastapi import Request

from api.rest.bodies import refuse_unfit
from api.rest.guard.limits import address_of, limits_of
from api.rest.guard.requests import request_id
from api.rest.relaying import behalf
from controlplane.intent import NodeSession
from controlplane.service import ControlPlane
from federation.access.rights import Right
from federation.errors import Unauthenticated


class Permission(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    ANYBODY = "any user"
    """Whoever is known, with whatever rights."""
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


def require(permission: Permission | Right) -> Callable[[Request], Awaitable[Any]]:
    """The dependency of a route: the user, or the node's session."""

    async def check(request: Request) -> Any:
        refuse_unfit(request)
        if permission is Permission.PUBLIC:
            return None
        plane = plane_of(request)
        limits = limits_of(request)
        if permission in (Permission.NODE, Permission.MEMBER) and (shown := _shown(request)) is not None:
            session = await _by_certificate(plane, shown)
            session = await behalf.speaker(request, session, is_for_itself=permission is Permission.MEMBER)
            limits.admit(f"member {session.cluster}/{session.node or session.relay}")
            return session
        credential = _bearer(request)
        if not plane.access.is_cheap(credential):
            limits.admit_stranger(request)
        if permission in (Permission.NODE, Permission.MEMBER, Permission.NODE_CREDENTIAL):
            session = await plane.access.node_session(credential)
            limits.admit(f"member {session.cluster}/{session.node}")
            return session
        actor = await plane.access.actor_of(credential)
        limits.admit(actor.name)
        actor = replace(actor, address=address_of(request), request=request_id(request))
        if isinstance(permission, Right) and not actor.has(permission):
            raise actor.refused(permission)
        return actor

    check.permission = permission  # type: ignore[attr-defined]  # read by the test that no route forgot it
    return check


def _bearer(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("no credential", hint="send Authorization: Bearer <token>")
    return credential


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
