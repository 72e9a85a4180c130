"""Which routes to add and remove. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Network


def plan(
    own: Iterable[IPv4Network], foreign: Iterable[IPv4Network], wanted: Iterable[IPv4Network]
) -> tuple[list[IPv4Network], list[IPv4Network], list[IPv4Network]]:
    """(add, remove, occupied): what is ours and not wanted goes; a destination that a foreign route holds is left to it."""
    mine, theirs, target = set(own), set(foreign), set(wanted)
    return sorted(target - mine - theirs), sorted(mine - target), sorted((target & theirs) - mine)
