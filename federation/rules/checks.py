"""What types cannot see in a rule: actions, protocols, ICMP, HTTP, families. As strict as Calico's API."""

from collections.abc import Iterable, Iterator

from federation.errors import Fault, shown
from federation.rules.entities import entity_faults, is_name
from federation.rules.model import HttpMatch, HttpPath, IcmpMatch, Rule
from federation.rules.names import annotation_faults
from federation.rules.protocols import PROTOCOLS as NUMBERS
from federation.rules.protocols import protocol_number

PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")
PORT_PROTOCOLS = (6, 17, 132)
"""Whose ports rules may name: TCP, UDP, SCTP."""
ICMP_VERSIONS = {1: 4, 58: 6}
MAX_HTTP = 20
"""Methods, and paths, of one rule."""
MAX_PATH = 1024


def rule_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    """Every fault of one rule; pointers start with `pointer`."""
    if rule.action not in ("Allow", "Deny", "Pass", "Log"):
        yield Fault(f"{pointer}/action", f"{shown(rule.action)} is not one of Allow, Deny, Pass, Log")
    if rule.ip_version not in (None, 4, 6):
        yield Fault(f"{pointer}/ipVersion", "is not 4 or 6")
    for name, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        if not _is_protocol(protocol):
            yield Fault(
                f"{pointer}/{name}", f"{shown(protocol)} is not one of {', '.join(PROTOCOLS)}, or 1-255"
            )
        elif rule.ip_version in (4, 6) and (
            ICMP_VERSIONS.get(_number(protocol), rule.ip_version) != rule.ip_version
        ):
            yield Fault(f"{pointer}/{name}", f"{protocol} does not go with ipVersion {rule.ip_version}")
    yield from _icmp_faults(pointer, rule)
    yield from _family_faults(pointer, rule)
    if rule.http is not None:
        yield from _http_faults(pointer, rule, rule.http)
    if rule.metadata is not None:
        yield from annotation_faults(f"{pointer}/metadata/annotations", rule.metadata.annotations)
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        yield from entity_faults(f"{pointer}/{name}", entity)
        ports = (*entity.ports, *entity.not_ports)
        needs_protocol = rule.protocol is not None or not all(map(is_name, ports))
        if ports and needs_protocol and _number(rule.protocol) not in PORT_PROTOCOLS:
            yield Fault(f"{pointer}/protocol", f"{name} ports need protocol TCP, UDP or SCTP")


def _is_protocol(protocol: int | str | None) -> bool:
    return protocol is None or 1 <= _number(protocol) <= 255


def _number(protocol: int | str | None) -> int:
    """A protocol's number; 0 of none, and of what is none."""
    if isinstance(protocol, str) and protocol.lower() not in NUMBERS:
        return int(protocol) if protocol.isascii() and protocol.isdigit() and len(protocol) < 4 else 0
    return 0 if protocol is None else protocol_number(protocol)


def _icmp_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    for name, match in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if match is None:
            continue
        if _number(rule.protocol) not in ICMP_VERSIONS:
            yield Fault(f"{pointer}/protocol", f"{name} needs protocol ICMP or ICMPv6")
        yield from _icmp_range_faults(f"{pointer}/{name}", match)


def _icmp_range_faults(pointer: str, match: IcmpMatch) -> Iterable[Fault]:
    if match.type is not None and not 0 <= match.type <= 254:
        yield Fault(f"{pointer}/type", f"{match.type} is not in 0-254")
    if match.code is not None and not 0 <= match.code <= 255:
        yield Fault(f"{pointer}/code", f"{match.code} is not in 0-255")
    if match.type is None and match.code is not None:
        yield Fault(f"{pointer}/type", "is needed beside a code")


def _family_faults(pointer: str, rule: Rule) -> Iterator[Fault]:
    """One rule speaks of one family: that of `ipVersion`, or of its first prefix."""
    family = rule.ip_version if rule.ip_version in (4, 6) else 0
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            family = family or (nets[0].version if nets else 0)
            if any(net.version != family for net in nets):
                yield Fault(
                    f"{pointer}/{side}/{name}",
                    f"IPv4 and IPv6 prefixes in one rule (it is of IPv{family}): write two rules",
                )


def _http_faults(pointer: str, rule: Rule, http: HttpMatch) -> Iterable[Fault]:
    if rule.action != "Allow":
        yield Fault(f"{pointer}/http", "stands in Allow rules only")
    if _number(rule.protocol) != 6 and rule.protocol is not None:
        yield Fault(f"{pointer}/protocol", "http needs protocol TCP, or none")
    for name, listed in (("methods", http.methods), ("paths", http.paths)):
        if len(listed) > MAX_HTTP:
            yield Fault(f"{pointer}/http/{name}", f"more than {MAX_HTTP} entries")
    if len(set(http.methods)) < len(http.methods):
        yield Fault(f"{pointer}/http/methods", "a method stands twice")
    for index, path in enumerate(http.paths):
        yield from _path_faults(f"{pointer}/http/paths/{index}", path)


def _path_faults(pointer: str, path: HttpPath) -> Iterable[Fault]:
    if bool(path.exact) == bool(path.prefix):
        yield Fault(pointer, "one of exact, prefix is needed")
        return
    name, text = ("exact", path.exact) if path.exact else ("prefix", path.prefix)
    if not text.startswith("/") or any(c in text for c in "? #"):
        yield Fault(
            f"{pointer}/{name}", f"{shown(text)} does not start with '/', or has a '?', '#' or blank in it"
        )
    elif len(text) > MAX_PATH:
        yield Fault(f"{pointer}/{name}", f"longer than {MAX_PATH} characters")
