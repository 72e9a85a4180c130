"""The list of kinds: the one place to register a new one."""

from collections.abc import Mapping
from typing import Any

from federation.access import project, role_binding
from federation.doors import kinds as doors
from federation.errors import Fault, InvalidInput, shown
from federation.kinds import (
    cluster,
    endpoint,
    global_network_policy,
    global_network_set,
    host_endpoint,
    identity,
    link,
    network_policy,
    node,
    profile,
    tier,
)
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION

KINDS: tuple[Kind, ...] = (
    cluster.KIND,
    node.KIND,
    node.RELAY_KIND,
    endpoint.KIND,
    identity.KIND,
    tier.KIND,
    global_network_policy.KIND,
    global_network_policy.STAGED_KIND,
    network_policy.KIND,
    network_policy.STAGED_KIND,
    global_network_set.KIND,
    global_network_set.NAMESPACED_KIND,
    host_endpoint.KIND,
    profile.KIND,
    link.KIND,
    project.KIND,
    role_binding.KIND,
    *doors.KINDS,
)

BY_NAME = {kind.name: kind for kind in KINDS}
BY_ALIAS = {alias.lower(): kind for kind in KINDS for alias in (kind.name, kind.plural, *kind.short_names)}
BY_FOREIGN_NAME = {
    (version, kind.foreign_name or kind.name): kind
    for kind in KINDS
    for version in kind.accepted_versions
    if version != API_VERSION
}


def kind_of(document: Any) -> Kind:
    """The registered kind that a document claims to be. Raises InvalidInput."""
    if not isinstance(document, Mapping):
        raise InvalidInput(
            "not a document", faults=[Fault("", f"an object is needed, not {shown(document)}")]
        )
    version, name = document.get("apiVersion"), document.get("kind")
    known = ", ".join(sorted(kind.name for kind in KINDS))
    if not isinstance(name, str) or not isinstance(version, str):
        pointer = "/kind" if not isinstance(name, str) else "/apiVersion"
        raise InvalidInput(
            "not a document", faults=[Fault(pointer, f"is needed, as text; known kinds: {known}")]
        )
    kind = BY_NAME.get(name) if version == API_VERSION else BY_FOREIGN_NAME.get((version, name))
    if kind is not None:
        return kind
    versions = [v for each in KINDS if name in (each.name, each.foreign_name) for v in each.accepted_versions]
    if versions:
        accepted = ", ".join(dict.fromkeys(versions))
        raise InvalidInput(
            f"unknown apiVersion {version!r} of {name}",
            faults=[
                Fault("/apiVersion", f"unknown apiVersion {shown(version)} of {name}; accepted: {accepted}")
            ],
        )
    raise InvalidInput(
        f"unknown kind {name!r}", faults=[Fault("/kind", f"unknown kind {shown(name)}; known kinds: {known}")]
    )


def kind_named(text: str) -> Kind:
    """The kind called `text`: name, plural or short name, in any case. Raises InvalidInput that lists what there is."""
    try:
        return BY_ALIAS[text.lower()]
    except KeyError:
        known = ", ".join(kind.name for kind in KINDS)
        raise InvalidInput(f"unknown kind {text!r}", hint=f"known kinds: {known}") from None
