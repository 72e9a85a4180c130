"""Reads Kubernetes' own documents leniently: fields that do not matter to policy are left alone, wrong types are faults."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from federation.errors import Fault
from federation.kinds.endpoint import NamedPort
from federation.policy.world import Address
from federation.simulation.sources import Sourced, SourceFault

PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")


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
            if not isinstance(value, Mapping):
                self.fault("/" + "/".join(path[:place]), "an object is needed")
                return default
            value = value.get(name)
            if value is None:
                return default
        if not isinstance(value, of):
            self.fault("/" + "/".join(path), f"{value!r} is of the wrong type")
            return default
        return value

    def labels(self, *path: str) -> dict[str, str]:
        """A mapping of texts."""
        found = self.at(*path, of=Mapping, default={})
        wrong = [key for key, value in found.items() if not isinstance(value, str)]
        for key in wrong:
            escaped = key.replace("~", "~0").replace("/", "~1")
            self.fault("/" + "/".join(path) + f"/{escaped}", f"{found[key]!r} is not text: put it in quotes")
        return {key: value for key, value in found.items() if key not in wrong}

    @property
    def name(self) -> str:
        """metadata.name; a fault when there is none."""
        name = str(self.at("metadata", "name", default=""))
        if not name:
            self.fault("/metadata/name", "is needed")
        return name

    @property
    def namespace(self) -> str:
        """metadata.namespace, or `default`."""
        return str(self.at("metadata", "namespace") or "default")

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


def list_of(value: Any) -> list[Any]:
    """The value if it is a list; else nothing."""
    return value if isinstance(value, list) else []
