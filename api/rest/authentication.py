"""Who is asking. Every route declares its permission; mTLS will be one more way to become a NodeSession."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from fastapi import Request

from api.rest.bodies import refuse_unfit
from controlplane.service import ControlPlane
from federation.errors import Unauthenticated


class Permission(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    USER = "user"
    NODE = "node"


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
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("no credential", hint="send Authorization: Bearer <token>")
        plane = plane_of(request)
        if permission is Permission.USER:
            return await plane.user_of(credential)
        return await plane.node_session(credential)

    check.permission = permission  # type: ignore[attr-defined]  # read by the test that no route forgot it
    return check
