"""From what the control plane said to what this node is to be. Pure: it depends on the last state only."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface

from federation.identities import HOST, REMOTE_NODE, IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.kinds.node import Node
from federation.policy.compile import compile_tables
from federation.policy.tables import Tables
from federation.policy.world import World, world_of
from federation.resources.metadata import AnyResource, ObjectKey
from nodeagent.drivers import Attachment, Desired, DesiredPolicy, DesiredRoutes, DesiredTunnels
from tunnels.peers import mesh_peers


def desired(resources: Iterable[AnyResource], me: ObjectKey, revision: int) -> Desired:
    """What node `me` is to be at `revision`."""
    seen = list(resources)
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
    )


def v4(endpoint: Endpoint) -> tuple[IPv4Address, ...]:
    """The endpoint's IPv4 addresses; IPv6 is not carried in this release, and dropped by the programs."""
    return tuple(a for a in endpoint.spec.addresses if isinstance(a, IPv4Address))


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
