"""Whether resources agree with each other, with the log, and with the tables that are made of them. Pure: facts in, faults out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from federation.doors.documents import CALICO_KINDS
from federation.identities import security_labels
from federation.policy.resolution import BUILT_IN
from federation.resources.metadata import AnyResource, ObjectKey

Faults = tuple[list[str], str]
"""(faults, what to do about them)."""
Name = tuple[str, str]
"""(kind, path)."""


@dataclass(slots=True)
class Agreement:
    """Is told everything once, then asked. Holds keys, addresses and labels, no documents."""

    revision: int
    """The counter."""
    last_identity: int
    """The counter."""
    _logged: dict[Name, tuple[int, bytes | None]] = field(default_factory=dict)
    _standing: dict[Name, tuple[int, bytes]] = field(default_factory=dict)
    _resources: set[ObjectKey] = field(default_factory=set)
    _needed: list[tuple[ObjectKey, ObjectKey]] = field(default_factory=list)
    _wrong: list[str] = field(default_factory=list)
    _owners: dict[str, list[str]] = field(default_factory=dict)
    _expected: list[tuple[ObjectKey, tuple[str, ...]]] = field(default_factory=list)
    _tunnels: dict[str, str] = field(default_factory=dict)
    _identities: dict[int, Mapping[str, str]] = field(default_factory=dict)
    _used: dict[int, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    def logged(self, revision: int, kind: str, path: str, document: str | None) -> None:
        """A line of the log, in order."""
        self._logged[kind, path] = revision, None if document is None else _digest(document)

    def stands(self, key: ObjectKey, revision: int, document: str) -> None:
        """A row of resources, whether it can be read or not."""
        self._standing[key.kind, key.path] = revision, _digest(document)

    def take(self, key: ObjectKey, revision: int, resource: AnyResource) -> None:
        """What it says."""
        if resource.key != key or resource.metadata.revision != revision:
            self._wrong.append(f"{key} at {revision} holds {resource.key} at {resource.metadata.revision}")
        if revision > self.revision:
            self._wrong.append(f"{key} is of revision {revision}, the newest is {self.revision}")
        self._resources.add(key)
        self._needed += [(key, other) for other in needed_by(resource)]
        match resource.kind:
            case "Node":
                self._node(str(key), resource)
            case "Endpoint":
                self._endpoint(str(key), resource)
            case "HostEndpoint":
                self._expected.append((key, tuple(map(str, resource.spec.expected_ips))))
            case "Identity":
                self._identities[resource.spec.number] = dict(resource.spec.labels)

    def _node(self, name: str, node: AnyResource) -> None:
        self._own(name, node)
        tunnel = node.status.tunnel_address
        if tunnel and (other := self._tunnels.setdefault(tunnel, name)) != name:
            self._wrong.append(f"{name} and {other} have the same tunnel address {tunnel}")

    def _endpoint(self, name: str, endpoint: AnyResource) -> None:
        self._own(name, endpoint)
        meta, number = endpoint.metadata, endpoint.status.identity
        labels = security_labels(meta.cluster, meta.namespace, endpoint.spec.service_account, meta.labels)
        known = self._used.setdefault(number, (name, labels))
        if known[1] != labels:
            self._wrong.append(f"{known[0]} and {name} share identity {number}, but not their labels")

    def _own(self, name: str, resource: AnyResource) -> None:
        for address in resource.spec.addresses:
            self._owners.setdefault(str(address), []).append(name)

    def of_log(self) -> Faults:
        """The log and what stands."""
        found = []
        for name, (revision, digest) in self._logged.items():
            standing = self._standing.get(name)
            if standing != (None if digest is None else (revision, digest)):
                found.append(f"{' '.join(name)} is not what the log's revision {revision} says")
        return found, "replicas may tell different things; restart them all, then write the object anew"

    def of_objects(self) -> Faults:
        """Resources by themselves and what they name."""
        missing = [f"{key} names {other}, which does not exist" for key, other in self._needed if other not in self._resources]  # fmt: skip
        return self._wrong + missing, "apply it anew, or delete it"

    def of_addresses(self, table: Mapping[str, str]) -> Faults:
        """The table of addresses and what resources have."""
        found = [f"{a} belongs to {' and '.join(o)}" for a, o in self._owners.items() if len(o) > 1]
        wanted = {address: set(owners) for address, owners in self._owners.items()}
        for key, addresses in sorted(self._expected):
            for address in addresses:
                if address not in self._owners:
                    wanted.setdefault(address, set()).add(str(key))
        for address, owners in wanted.items():
            if table.get(address) not in owners:
                holder = table.get(address, "nobody")
                found.append(f"address {address} of {' or '.join(sorted(owners))} is held by {holder}")
        found += [f"address {a} is held by {table[a]}, which has it not" for a in table if a not in wanted]
        return found, "apply the owner anew: that claims its addresses and gives up others"

    def of_identities(self, table: Mapping[int, Mapping[str, str]]) -> Faults:
        """The table of identities, their resources, and the endpoints that have them."""
        found = []
        for number, (endpoint, labels) in sorted(self._used.items()):
            if table.get(number) != labels:
                found.append(f"identity {number} of {endpoint} does not stand for its labels")
        for number, labels in sorted(table.items()):
            if self._identities.get(number) != labels:
                found.append(f"identity {number} and its resource differ")
            if number not in self._used:
                found.append(f"identity {number} is no endpoint's")
            if number > self.last_identity:
                found.append(f"identity {number} is beyond its counter, which stands at {self.last_identity}")
        lost = self._identities.keys() - table.keys()
        found += [f"Identity {number} is not in the table of identities" for number in sorted(lost)]
        return found, "apply its endpoints anew; if that does not help, delete and create them"


def needed_by(resource: AnyResource) -> Iterator[ObjectKey]:
    """What a resource names and cannot be without."""
    cluster = resource.metadata.cluster
    if cluster:
        yield ObjectKey("Cluster", "", "", cluster)
    if resource.kind in ("Endpoint", "HostEndpoint"):
        yield ObjectKey("Node", cluster, "", resource.spec.node)
    if resource.kind == "Link":
        yield from (ObjectKey("Cluster", "", "", name) for name in resource.spec.clusters)
    if resource.kind in CALICO_KINDS and resource.spec.tier not in BUILT_IN:
        yield ObjectKey("Tier", "", "", resource.spec.tier)


def _digest(document: str) -> bytes:
    return sha256(document.encode()).digest()[:16]
