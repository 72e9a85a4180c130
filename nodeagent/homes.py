"""Nodes and the host endpoints on them: what policy's world and the datapath are told of each when one of them changes. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from federation.policy.hosts import EVERY_INTERFACE, govern
from federation.policy.tables import HostClasses
from federation.policy.world import Host, host_of
from federation.resources.metadata import AnyResource, ObjectKey
from nodeagent.drivers import HostAttachment

Home = tuple[str, str]
"""Cluster and node."""


@dataclass(slots=True)
class Homes:
    """All nodes and host endpoints that are known."""

    _nodes: dict[Home, AnyResource] = field(default_factory=dict)
    _endpoints: dict[Home, dict[ObjectKey, AnyResource]] = field(default_factory=dict)
    _touched: dict[Home, None] = field(default_factory=dict)

    def take(self, before: AnyResource | None, after: AnyResource | None) -> None:
        """Take what a node or a host endpoint was, and what it is; other kinds are passed over."""
        for one in (before, after):
            if one is not None and one.kind == "Node":
                home = one.metadata.cluster, one.metadata.name
                self._nodes.pop(home, None)
                if one is after:
                    self._nodes[home] = one
                self._touched[home] = None
            elif one is not None and one.kind == "HostEndpoint":
                home = one.metadata.cluster, one.spec.node
                known = self._endpoints.setdefault(home, {})
                known.pop(one.key, None)
                if one is after:
                    known[one.key] = one
                self._touched[home] = None

    def take_changes(self) -> tuple[dict[Home, Host | None], dict[Home, tuple[Host, ...]]]:
        """The hosts (None: gone), and their further faces, of which something has changed since this was asked last."""
        hosts: dict[Home, Host | None] = {}
        faces: dict[Home, tuple[Host, ...]] = {}
        for home in self._touched:
            node = self._nodes.get(home)
            made = {} if node is None else {home: host_of(node)}
            faces[home] = govern(made, self._endpoints.get(home, {}).values(), home[0])
            hosts[home] = made.get(home)
        self._touched = {}
        return hosts, faces

    def attachments(self, home: Home, classes: Mapping[ObjectKey, HostClasses]) -> Iterator[HostAttachment]:
        """A node's own host endpoints, those of an interface before those of all; of several for one interface the first is its."""
        for each in sorted(self._endpoints.get(home, {}).values(), key=_precedence):
            yield HostAttachment(
                host_endpoint=each.key.path,
                interface=each.spec.interface_name,
                classes=classes[each.key],
                addresses=each.spec.expected_ips,
            )


def _precedence(endpoint: AnyResource) -> tuple[bool, str]:
    return endpoint.spec.interface_name == EVERY_INTERFACE, endpoint.metadata.name
