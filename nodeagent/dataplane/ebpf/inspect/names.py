"""What the numbers in the maps are called: rules, endpoints, peers. Kept by the agent in a small file, so that they are known when it is dead.

The file holds what only the agent that wrote the maps knows: which rule has which number, which endpoint has which interface. It bears the
*mark* of the maps that it was written for (highest bank and epoch): a reader sees when the maps have moved on. Peers' names are in the cache.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from federation.errors import InvalidInput, NotFound, Unavailable
from federation.identities import HOST, REMOTE_NODE, UNKNOWN, WORLD
from federation.policy.tables import RuleReference
from federation.resources.metadata import ObjectKey
from nodeagent.control import cache
from nodeagent.control.packed import Packed
from nodeagent.control.replica import State
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.layout import Address
from nodeagent.dataplane.ebpf.plan import MARK
from nodeagent.dataplane.linux.links import index_of
from nodeagent.drivers import DesiredPolicy

FILE = "names.json"
FORMAT = 1
RESERVED = {UNKNOWN: "unknown", HOST: "host", WORLD: "world", REMOTE_NODE: "remote node"}
Mark = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEndpoint:
    """An endpoint of this node. `index`: its interface's, 0 when there was none; `endpoint`: ObjectKey.path."""

    endpoint: str
    interface: str
    index: int
    identity: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNames:
    """What the file holds."""

    mark: Mark = (0, 0)
    """(bank, epoch) of the maps that these are the names of."""
    endpoints: tuple[LocalEndpoint, ...] = ()
    references: Mapping[int, RuleReference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """All names that this node knows."""

    node: NodeNames = field(default_factory=NodeNames)
    state: State = field(default_factory=State)
    """The cache, as the agent left it."""
    peers: Mapping[Address, str] = field(default_factory=dict)
    """Who has which address: an endpoint's path, or `node` and a node's."""
    identities: Mapping[int, str] = field(default_factory=dict)

    def who(self, address: Address) -> str:
        """An address's owner, or the address."""
        return self.peers.get(address, str(address))

    def rule(self, rule_id: int | None) -> str:
        """Where a rule comes from."""
        if rule_id is None:
            return "none"
        reference = self.node.references.get(rule_id)
        return said_of(reference) if reference else f"rule number {rule_id} (not in {FILE})"

    def identity(self, number: int) -> str:
        """An identity, with one of those who have it."""
        said = RESERVED.get(number) or self.identities.get(number, "")  # type: ignore[call-overload]
        return f"{number} ({said})" if said else str(number)

    def endpoint_at(self, index: int) -> LocalEndpoint | None:
        """Whose interface has an index."""
        return next((local for local in self.node.endpoints if index and local.index == index), None)


def said_of(reference: RuleReference) -> str:
    """A rule's origin: policy, list, place; or a tier's end; or a failsafe port."""
    if reference.is_failsafe:
        return f"{reference.section} port {reference.index}"
    if reference.policy is None or reference.index is None:
        policy = f" for {reference.policy}" if reference.policy else ""
        return f"end of tier {reference.tier}{policy}"
    return f"{reference.policy} {reference.section} rule {reference.index}"


def names_of(desired: DesiredPolicy, pins: Pins) -> NodeNames:
    """The names of what was just written. In the agent's network namespace: interfaces have their indexes there."""
    return NodeNames(
        mark=mark_of(pins),
        endpoints=tuple(
            LocalEndpoint(
                endpoint=a.endpoint,
                interface=a.interface,
                index=index_of(a.interface) or 0,
                identity=a.identity,
                addresses=a.addresses,
            )
            for a in desired.attachments
        ),
        references=desired.tables.references,
    )


def mark_of(pins: Pins) -> Mark:
    """(bank, epoch) that the maps have come to."""
    value = pins.map("endpoints").lookup(MARK)
    entry = decode.endpoint(value) if value else None
    return (entry.bank, entry.epoch) if entry else (0, 0)


def save(state_dir: Path, names: NodeNames) -> None:
    """Replace the file in one step (0600). Raises Unavailable."""
    path = state_dir / FILE
    fresh = path.with_suffix(".new")
    content = {
        "format": FORMAT,
        "mark": names.mark,
        "endpoints": [
            [e.endpoint, e.interface, e.index, e.identity, [str(a) for a in e.addresses]]
            for e in names.endpoints
        ],
        "references": [[number, *packed(reference)] for number, reference in names.references.items()],
    }
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} was not written: {error.strerror or error}") from error


def load(state_dir: Path) -> Names:
    """All names, from the agent's own files. A cache that is not there gives no peers' names. Raises NotFound or InvalidInput."""
    return with_state(load_node(state_dir), cache.peek(state_dir / "cache.json"))


def load_node(state_dir: Path) -> NodeNames:
    """The names file alone. Raises NotFound or InvalidInput."""
    path = state_dir / FILE
    try:
        return _node_names(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        hint = "it is written after the agent's first round: start the agent, or name its folder with --state-dir"
        raise NotFound(f"the agent of {state_dir} has not written its names yet", hint=hint) from error
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}", hint="ask as root") from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        hint = "a running agent writes it anew: is agent and command line the same release?"
        raise InvalidInput(f"{path} does not hold an agent's names: {error}", hint=hint) from error


def with_state(node: NodeNames, state: State) -> Names:
    """The node's names, and those of everybody whom the cache knows."""
    peers: dict[Address, str] = {}
    identities: dict[int, str] = {}
    counts: dict[int, int] = {}
    for (kind, path), document in state.documents.items():
        if kind not in ("Endpoint", "Node"):
            continue
        whole = Packed.of(document).whole()
        spec, status = whole.get("spec", {}), whole.get("status", {})
        listed = [*spec.get("addresses", ()), status.get("tunnelAddress", "")]
        who = path if kind == "Endpoint" else f"node {path}"
        peers.update({ip_address(text): who for text in listed if text})
        if number := status.get("identity", 0):
            identities.setdefault(number, path)
            counts[number] = counts.get(number, 0) + 1
    for local in node.endpoints:
        peers.update(dict.fromkeys(local.addresses, local.endpoint))
        identities.setdefault(local.identity, local.endpoint)
    shown = {
        n: who if counts.get(n, 1) == 1 else f"{who} and {counts[n] - 1} more"
        for n, who in identities.items()
    }
    return Names(node=node, state=state, peers=peers, identities=shown)


def packed(reference: RuleReference) -> list[Any]:
    """A reference as JSON."""
    key = reference.policy
    policy = [key.kind, key.cluster, key.namespace, key.name] if key else None
    return [reference.tier, policy, reference.index, reference.section]


def unpacked(parts: Sequence[Any]) -> RuleReference:
    """What `packed` gave. Raises ValueError or TypeError."""
    tier, policy, index, section = parts
    return RuleReference(
        tier=tier, policy=ObjectKey(*policy) if policy else None, index=index, section=section
    )


def _node_names(content: Any) -> NodeNames:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it is of another version")
    bank, epoch = content["mark"]
    return NodeNames(
        mark=(int(bank), int(epoch)),
        endpoints=tuple(
            LocalEndpoint(
                endpoint=str(endpoint),
                interface=str(interface),
                index=int(index),
                identity=int(identity),
                addresses=tuple(ip_address(text) for text in addresses),
            )
            for endpoint, interface, index, identity, addresses in content["endpoints"]
        ),
        references={int(number): unpacked(parts) for number, *parts in content["references"]},
    )
