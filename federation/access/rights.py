"""Rights, and the roles that bundle them. What no role of somebody's allows is denied."""

from enum import StrEnum


class Right(StrEnum):
    """What one may do. Each route of the API and each kind names one."""

    READ = "read"
    """See objects, and how far changes have come."""
    AUDIT = "audit"
    """See who did what."""
    POLICY = "policy"
    """Write policies, tiers and sets of prefixes."""
    NETWORK = "network"
    """Write clusters, nodes, endpoints, links and their labels; let nodes in, and throw them out."""
    ACCESS = "access"
    """Give rights: role bindings, projects, API tokens."""
    AUTHORITY = "authority"
    """Replace the certificate authority."""


OWNER = "owner"
ROLES: dict[str, frozenset[Right]] = {
    "viewer": frozenset({Right.READ}),
    "auditor": frozenset({Right.READ, Right.AUDIT}),
    "policy-admin": frozenset({Right.READ, Right.POLICY}),
    "network-admin": frozenset({Right.READ, Right.NETWORK}),
    OWNER: frozenset(Right),
}
"""By name. A policy's author cannot let nodes in, nor an operator of the network write policy: who is to do both is given both."""


def roles_with(right: Right) -> tuple[str, ...]:
    """Names of the roles that hold a right."""
    return tuple(name for name, rights in ROLES.items() if right in rights)
