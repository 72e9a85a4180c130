"""Reads Kubernetes' own documents leniently: fields that do not matter to policy are left alone, wrong types are faults."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from federation.errors import Fault, shown
from federation.kinds.endpoint import NamedPort
from federation.policy.world import Address
from federation.resources.grammar import escaped, label_faults, name_faults, quotes_missing
from federation.simulation.sources import Sourced, SourceFault

PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")
MAPPINGS = (dict, Mapping)
"""The common one first: asking whether it is a Mapping takes five times as long."""


class Reader:
    """One document."""

    def __init__(self, sourced: Sourced, faults: list[SourceFault]) -> None:
        self.document = sourced.document
        self.source, self.root = sourced.source, sourced.root
        self.faults = faults

    def fault(self, pointer: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(SourceFault(self.source, Fault(self.root + pointer, message)))

    def at(self, *path: str, of: type | tuple[type, ...] = str, default: Any = None) -> Any:
        """The value at a path of mappings, of that type; the default when absent or wrong (with a fault)."""
        value: Any = self.document
        for place, name in enumerate(path):
            if not isinstance(value, MAPPINGS):
                self.fault("/" + "/".join(path[:place]), "an object is needed")
                return default
            value = value.get(name)
            if value is None:
                return default
        if not isinstance(value, of):
            self.fault("/" + "/".join(path), f"{shown(value)} is of the wrong type")
            return default
        return value

    def labels(self, *path: str) -> dict[str, str]:
        """A mapping of texts, written as labels are."""
        found = self.at(*path, of=Mapping, default={})
        pointer = "/" + "/".join(path)
        texts = {key: value for key, value in found.items() if isinstance(value, str)}
        for key in (key for key in found if key not in texts):
            self.fault(f"{pointer}/{escaped(key)}", _not_text(found[key]))
        for fault in label_faults(pointer, texts):
            self.fault(fault.pointer, fault.message)
        return texts

    @property
    def name(self) -> str:
        """metadata.name; a fault when there is none."""
        name = self.at("metadata", "name", default=None, of=object)
        if name is None or name == "":
            self.fault("/metadata/name", "is needed")
        return self._named("name", name)

    @property
    def namespace(self) -> str:
        """metadata.namespace, or `default`."""
        return self._named("namespace", self.at("metadata", "namespace", of=object) or "default")

    def _named(self, part: str, value: Any) -> str:
        if value is not None and not isinstance(value, str):
            self.fault(f"/metadata/{part}", _not_text(value))
        for fault in name_faults(part, value) if isinstance(value, str) and value else ():
            self.fault(fault.pointer, fault.message)
        return str(value)

    def objects(self, *path: str) -> list[Mapping[str, Any]]:
        """A list of mappings."""
        found = self.at(*path, of=list, default=[])
        return [each for each in found if isinstance(each, Mapping)]

    def addresses(self, pointer: str, texts: Iterable[Any]) -> tuple[Address, ...]:
        """Addresses, each once; a fault for what is none."""
        result: dict[Address, None] = {}
        for text in texts:
            try:
                result[ip_address(str(text))] = None
            except ValueError:
                self.fault(pointer, f"{text!r} is not an address")
        return tuple(result)

    def ports(self) -> Iterator[NamedPort]:
        """The ports of a pod's containers; of init containers those that go on running beside them."""
        for part in ("initContainers", "containers"):
            for index, container in enumerate(self.at("spec", part, of=list, default=[])):
                if not isinstance(container, Mapping):
                    self.fault(f"/spec/{part}/{index}", "an object is needed")
                elif part == "containers" or container.get("restartPolicy") == "Always":
                    yield from self._ports_of(container, f"/spec/{part}/{index}/ports")

    def _ports_of(self, container: Mapping[str, Any], pointer: str) -> Iterator[NamedPort]:
        found = container.get("ports") or []
        if not isinstance(found, list):
            self.fault(pointer, "a list is needed")
        for place, port in enumerate(list_of(found)):
            at = f"{pointer}/{place}"
            number = port.get("containerPort") if isinstance(port, Mapping) else None
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
                self.fault(f"{at}/containerPort", "a number of 1-65535 is needed")
                continue
            protocol = port.get("protocol", "TCP")
            if protocol not in PORT_PROTOCOLS:
                self.fault(f"{at}/protocol", f"{protocol!r} is not one of TCP, UDP, SCTP")
                continue
            yield NamedPort(name=str(port.get("name", "")), port=number, protocol=protocol)


def _not_text(value: Any) -> str:
    return f"text is needed, not {shown(value)}{quotes_missing(value)}"


def list_of(value: Any) -> list[Any]:
    """The value if it is a list; else nothing."""
    return value if isinstance(value, list) else []
