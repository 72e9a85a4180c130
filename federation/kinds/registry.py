"""The list of kinds: the one place to register a new one."""

from federation.errors import InvalidInput
from federation.kinds import (
    cluster,
    endpoint,
    global_network_policy,
    global_network_set,
    identity,
    link,
    network_policy,
    node,
    tier,
)
from federation.resources.kind import Kind

KINDS: tuple[Kind, ...] = (
    cluster.KIND,
    node.KIND,
    endpoint.KIND,
    identity.KIND,
    tier.KIND,
    global_network_policy.KIND,
    global_network_policy.STAGED_KIND,
    network_policy.KIND,
    network_policy.STAGED_KIND,
    global_network_set.KIND,
    global_network_set.NAMESPACED_KIND,
    link.KIND,
)

BY_NAME = {kind.name: kind for kind in KINDS}
BY_ALIAS = {alias.lower(): kind for kind in KINDS for alias in (kind.name, kind.plural, *kind.short_names)}


def kind_named(text: str) -> Kind:
    """The kind called `text`: name, plural or short name, in any case. Raises InvalidInput that lists what there is."""
    try:
        return BY_ALIAS[text.lower()]
    except KeyError:
        known = ", ".join(kind.name for kind in KINDS)
        raise InvalidInput(f"unknown kind {text!r}", hint=f"known kinds: {known}") from None
