"""From what the control plane said to what this node is to be. Pure: it depends on the last state only."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from federation.compiler.compiler import compile_tables
from federation.identities import HOST, REMOTE_NODE, IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.kinds.node import Node
from federation.policy.tables import Tables
from federation.policy.world import World, world_of
from federation.resources.metadata import AnyResource, ObjectKey
from nodeagent.drivers import (
    Attachment,
    Desired,
    DesiredPolicy,
    DesiredRoutes,
    DesiredTunnels,
    ObjectReport,
)
from nodeagent.replica import Reader, State
from tunnels.peers import mesh_peers


class Decider:
    """From states to what node `me` is to be. Remembers what it read and decided, which costs time to find out again and
    changes no answer."""

    def __init__(self, me: ObjectKey) -> None:
        self._me = me
        self._reader = Reader()
        self._last: tuple[State, Desired] | None = None

    def decide(self, state: State) -> Desired:
        """What the node is to be. When no document has changed only the revision moves: nothing is compiled again."""
        if self._last is not None:
            before, wanted = self._last
            if state.documents is before.documents and state.unread == before.unread:
                return replace(wanted, revision=state.revision)
        resources, unread = self._reader.read(state)
        wanted = desired(resources, self._me, state.revision)
        wanted = replace(wanted, faults=(*wanted.faults, *unread))
        self._last = (state, wanted)
        return wanted


def desired(resources: Iterable[AnyResource], me: ObjectKey, revision: int) -> Desired:
    """What node `me` is to be at `revision`."""
    seen = sorted(
        resources, key=lambda r: r.key
    )  # of two that claim one address the same one wins, whatever came first
    world = world_of(seen)
    nodes = [r for r in seen if r.kind == "Node"]
    links = [r for r in seen if r.kind == "Link"]
    own = next((node for node in nodes if node.key == me), None)
    local = {
        key: e
        for key, e in world.endpoints.items()
        if key.cluster == me.cluster and e.spec.node == me.name and v4(e)
    }
    tables = compile_tables(world, local)
    peers = mesh_peers(me, nodes, links)
    tunnels = DesiredTunnels()
    if own is not None and own.status.tunnel_address:
        port = own.spec.wireguard.listen_port if own.spec.wireguard else 51820
        tunnels = DesiredTunnels(
            address=IPv4Interface(own.status.tunnel_address), listen_port=port, peers=peers
        )
    return Desired(
        revision=revision,
        policy=DesiredPolicy(
            tables=tables,
            addresses=_addresses(world, nodes, me),
            attachments=tuple(_attachments(local, tables)),
        ),
        tunnels=tunnels,
        routes=DesiredRoutes(
            via_tunnel=tuple(sorted(prefix for peer in peers for prefix in peer.allowed_ips))
        ),
        faults=tuple(_uncarried(world, me)),
    )


def v4(endpoint: Endpoint) -> tuple[IPv4Address, ...]:
    """The endpoint's IPv4 addresses; IPv6 is not carried in this release, and dropped by the programs."""
    return tuple(a for a in endpoint.spec.addresses if isinstance(a, IPv4Address))


def _uncarried(world: World, me: ObjectKey) -> Iterable[ObjectReport]:
    """Workloads that are to be policed here and cannot be."""
    for key, endpoint in sorted(world.endpoints.items()):
        is_here = key.cluster == me.cluster and endpoint.spec.node == me.name
        if is_here and endpoint.spec.interface and not v4(endpoint):
            said = "it has IPv6 addresses only, which the datapath of this release does not carry: its interface has no programs of ours"
            yield ObjectReport(key=str(key), is_ok=False, reason="platform", message=said)


def _addresses(world: World, nodes: Iterable[Node], me: ObjectKey) -> dict[IPv4Address, IdentityNumber]:
    known: dict[IPv4Address, IdentityNumber] = {}
    for node in nodes:
        number = HOST if node.key == me else REMOTE_NODE
        known.update({a: number for a in node.spec.addresses if isinstance(a, IPv4Address)})
        if node.status.tunnel_address:
            known[IPv4Address(node.status.tunnel_address)] = number
    for endpoint in world.endpoints.values():
        known.update({address: IdentityNumber(endpoint.status.identity) for address in v4(endpoint)})
    return known


def _attachments(local: dict[ObjectKey, Endpoint], tables: Tables) -> Iterable[Attachment]:
    for key, endpoint in sorted(local.items()):
        if endpoint.spec.interface:
            yield Attachment(
                endpoint=key.path,
                interface=endpoint.spec.interface,
                class_number=tables.subjects[key],
                identity=IdentityNumber(endpoint.status.identity),
                addresses=v4(endpoint),
            )
