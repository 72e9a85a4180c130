"""From what the control plane said to what this node is to be. Pure: it depends on the last state only, and costs what has changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from federation.compiler.compiler import Compiler
from federation.doors.documents import CILIUM_KINDS
from federation.identities import HOST, REMOTE_NODE, IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.policy.failsafe import FAILSAFE, Failsafe
from federation.policy.tables import Tables
from federation.policy.world import Host, LabelledNets
from federation.resources.metadata import AnyResource, ObjectKey
from nodeagent.control.replica import Pair, Reader, State
from nodeagent.dataplane.ebpf.layout import ROW_BITS
from nodeagent.drivers import (
    ANYTHING,
    Address,
    Attachment,
    Desired,
    DesiredPolicy,
    DesiredRoutes,
    DesiredTunnels,
    Journal,
    Touched,
)
from nodeagent.feed import change_of, sets_in_namespaces
from nodeagent.homes import Homes
from tunnels.peers import mesh_peers

GROUPS = "CiliumCIDRGroup"
SETS, SPACES = "NetworkSet", "Namespace"
KEPT = ("Node", "Link", GROUPS, SETS, SPACES, *CILIUM_KINDS)
SPARE_BITS = 64
"""Bits that may lie idle before all are numbered anew."""


class Decider:
    """From states to what node `me` is to be, whose host endpoints let `failsafe` ports pass. Each decision costs what has changed since the last one, and depends on the state only."""

    def __init__(self, me: ObjectKey, failsafe: Failsafe = FAILSAFE) -> None:
        self._me = me
        self._failsafe = failsafe
        self._last: tuple[State, Desired] | None = None
        self._serial = 0
        self._journal = Journal()
        self._begin()

    def decide(self, state: State) -> Desired:
        """What the node is to be. When no document has changed only the revision moves."""
        if self._last is not None:
            before, wanted = self._last
            if state.documents is before.documents and state.unread == before.unread:
                return replace(wanted, revision=state.revision)
        try:
            wanted = self._decide(state)
        except BaseException:
            self._begin()  # half of the change may have been taken
            raise
        self._last = (state, wanted)
        return wanted

    def _begin(self) -> None:
        """Forget all: the next decision is made from nothing."""
        self._reader = Reader()
        self._resources: dict[str, dict[ObjectKey, AnyResource]] = {kind: {} for kind in KEPT}
        self._here: dict[ObjectKey, Endpoint] = {}
        self._addresses = Addresses()
        self._sets: dict[str, LabelledNets] = {}
        self._homes = Homes()
        self._compiler = Compiler(self._is_local, self._is_own, self._failsafe)
        self._last = None

    def _decide(self, state: State) -> Desired:
        kinds: set[str] = set()
        change = change_of(self._taken(state, kinds), self._resources[GROUPS])
        if not kinds.isdisjoint((SETS, SPACES)):
            change = replace(change, network_sets={**change.network_sets, **self._set_changes()})
        hosts, faces = self._homes.take_changes()
        delta = self._compiler.apply(replace(change, hosts=hosts, faces=faces))
        if self._is_sparse() and self._last is not None:
            self._begin()  # a build gives numbers without gaps
            return self._decide(state)
        self._serial += 1
        moved = self._addresses.take_touched()
        is_first = self._last is None
        touched = ANYTHING if is_first else Touched(set(delta.identity_rows), set(delta.prefix_rows), moved)
        self._journal.note(self._serial, touched)
        tunnels, routes = self._paths(kinds)
        return Desired(
            revision=state.revision,
            policy=self._policy(),
            tunnels=tunnels,
            routes=routes,
            faults=tuple(self._reader.faults(state)),
        )

    def _taken(self, state: State, kinds: set[str]) -> Iterator[Pair]:
        """What has changed, and its kinds; Cilium's policies when all groups are known that they may refer to."""
        late: list[Pair] = []
        for before, after in self._reader.follow(state):
            self._take(before, after)
            found = {one.kind for one in (before, after) if one is not None}
            kinds |= found
            if found.isdisjoint(CILIUM_KINDS):
                yield before, after
            else:
                late.append((before, after))
        if GROUPS in kinds:
            late += [(None, r) for kind in CILIUM_KINDS for r in self._resources[kind].values()]
        yield from late

    def _set_changes(self) -> dict[str, LabelledNets | None]:
        """What differs of NetworkSets, which have their namespaces' labels."""
        before = self._sets
        self._sets = sets_in_namespaces(self._resources[SETS].values(), self._resources[SPACES].values())
        changed = {name: nets for name, nets in self._sets.items() if before.get(name) != nets}
        return {**changed, **dict.fromkeys(before.keys() - self._sets.keys())}

    def _take(self, before: AnyResource | None, after: AnyResource | None) -> None:
        """Keep what is asked for by more than its own change."""
        one = after or before
        if one is None:
            return
        if one.kind in KEPT:
            _put(self._resources[one.kind], one.key, after)
        if one.kind == "Endpoint":
            is_here = after is not None and _is_of(after, self._me)
            _put(self._here, one.key, after if is_here else None)
        self._homes.take(before, after)
        if one.kind in ("Endpoint", "Node", "HostEndpoint"):
            self._addresses.replace(one.key, identities_of(after, self._me))

    def _is_local(self, endpoint: Endpoint) -> bool:
        return _is_of(endpoint, self._me) and bool(endpoint.spec.addresses)

    def _is_own(self, host: Host) -> bool:
        return (host.cluster, host.name) == (self._me.cluster, self._me.name)

    def _is_sparse(self) -> bool:
        """Whether a build would do with bits of lower numbers, of which a kernel's row has so many and no more."""
        count, used = self._compiler.bit_count, self._compiler.bits_in_use
        return count > 2 * used + SPARE_BITS or used <= ROW_BITS < count

    def _policy(self) -> DesiredPolicy:
        tables = self._compiler.tables()
        return DesiredPolicy(
            serial=self._serial,
            journal=self._journal,
            tables=tables,
            addresses=dict(self._addresses.known),
            attachments=tuple(_attachments(self._here, tables)),
            hosts=tuple(self._homes.attachments((self._me.cluster, self._me.name), tables.hosts)),
        )

    def _paths(self, changed: set[str]) -> tuple[DesiredTunnels, DesiredRoutes]:
        """Tunnels and routes; the last ones, when no node and no link has changed."""
        if self._last is not None and changed.isdisjoint(("Node", "Link")):
            return self._last[1].tunnels, self._last[1].routes
        nodes, links = (
            [r for _, r in sorted(self._resources[kind].items(), key=lambda item: item[0])]
            for kind in ("Node", "Link")
        )
        peers = mesh_peers(self._me, nodes, links)
        own = self._resources["Node"].get(self._me)
        tunnels = DesiredTunnels()
        if own is not None and own.status.tunnel_address:
            port = own.spec.wireguard.listen_port if own.spec.wireguard else 51820
            tunnels = DesiredTunnels(
                address=IPv4Interface(own.status.tunnel_address), listen_port=port, peers=peers
            )
        return tunnels, DesiredRoutes(
            via_tunnel=tuple(sorted(prefix for peer in peers for prefix in peer.allowed_ips))
        )


class Addresses:
    """Who has which address. Of several that claim one the same one wins, whoever came first: an endpoint, then the last by key."""

    def __init__(self) -> None:
        self.known: dict[Address, IdentityNumber] = {}
        self._touched: set[Address] = set()
        self._of: dict[ObjectKey, dict[Address, IdentityNumber]] = {}
        self._contested: dict[Address, set[ObjectKey]] = {}
        self._owner: dict[Address, ObjectKey] = {}

    def replace(self, owner: ObjectKey, after: dict[Address, IdentityNumber]) -> None:
        """Give an owner other addresses (none: it is gone)."""
        before = self._of.pop(owner, {})
        self._touched |= before.keys() | after.keys()
        if after:
            self._of[owner] = after
        for address in before.keys() - after.keys():
            self._leave(address, owner)
        for address in after:
            holder = self._owner.get(address, owner)
            if holder != owner:
                self._contested.setdefault(address, {holder}).add(owner)
                holder = max(holder, owner, key=_rank)
            self._owner[address] = holder
            self.known[address] = self._of[holder][address]

    def take_touched(self) -> set[Address]:
        """Addresses that may be somebody else's since this was asked last."""
        touched, self._touched = self._touched, set()
        return touched

    def _leave(self, address: Address, owner: ObjectKey) -> None:
        others = self._contested.get(address, {owner})
        others.discard(owner)
        if not others:
            del self._owner[address], self.known[address]
            return
        if len(others) == 1:
            del self._contested[address]
        self._owner[address] = holder = max(others, key=_rank)
        self.known[address] = self._of[holder][address]


def _rank(owner: ObjectKey) -> tuple[bool, ObjectKey]:
    return owner.kind == "Endpoint", owner


def _put(into: dict[ObjectKey, Any], key: ObjectKey, value: Any) -> None:
    if value is None:
        into.pop(key, None)
    else:
        into[key] = value


def _is_of(endpoint: Endpoint, node: ObjectKey) -> bool:
    return (endpoint.metadata.cluster, endpoint.spec.node) == (node.cluster, node.name)


def identities_of(resource: AnyResource | None, me: ObjectKey) -> dict[Address, IdentityNumber]:
    """The identity at each address of an endpoint, of a node (also the one inside tunnels), or that a node's host endpoint expects."""
    if resource is None:
        return {}
    if resource.kind == "Endpoint":
        return dict.fromkeys(resource.spec.addresses, IdentityNumber(resource.status.identity))
    if resource.kind == "HostEndpoint":
        is_mine = (resource.metadata.cluster, resource.spec.node) == (me.cluster, me.name)
        return dict.fromkeys(resource.spec.expected_ips, HOST if is_mine else REMOTE_NODE)
    number = HOST if resource.key == me else REMOTE_NODE
    found = list(resource.spec.addresses)
    if resource.status.tunnel_address:
        found.append(IPv4Address(resource.status.tunnel_address))
    return dict.fromkeys(found, number)


def _attachments(here: Mapping[ObjectKey, Endpoint], tables: Tables) -> Iterable[Attachment]:
    for key, endpoint in sorted(here.items()):
        if endpoint.spec.interface and endpoint.spec.addresses:
            yield Attachment(
                endpoint=key.path,
                interface=endpoint.spec.interface,
                class_number=tables.subjects[key],
                identity=IdentityNumber(endpoint.status.identity),
                addresses=endpoint.spec.addresses,
                mac=bytes.fromhex(endpoint.spec.mac.replace(":", "")),
            )
