"""What types cannot see in a rule: actions, protocols, ports, ICMP, prefixes, selectors. As strict as Calico's API."""

from collections.abc import Iterable

from federation.errors import Fault, SelectorError
from federation.rules.model import EntityRule, IcmpMatch, Port, Rule
from federation.selectors import parse

PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")
PORT_PROTOCOLS = ("tcp", "udp", "sctp", "udplite", 6, 17, 132, 136)
MAX_PORTS = 50
MAX_NETS = 256


def rule_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    """Every fault of one rule; pointers start with `pointer`."""
    if rule.action not in ("Allow", "Deny", "Pass", "Log"):
        yield Fault(f"{pointer}/action", f"{rule.action!r} is not one of Allow, Deny, Pass, Log")
    if rule.ip_version not in (None, 4, 6):
        yield Fault(f"{pointer}/ipVersion", "is not 4 or 6")
    for name, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        if not _is_protocol(protocol):
            yield Fault(f"{pointer}/{name}", f"{protocol!r} is not one of {', '.join(PROTOCOLS)}, or 1-255")
    yield from _icmp_faults(pointer, rule)
    yield from _version_faults(pointer, rule)
    if rule.http is not None:
        yield from _http_faults(pointer, rule)
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        yield from _entity_faults(f"{pointer}/{name}", entity)
        is_numeric = any(not _is_name(port) for port in (*entity.ports, *entity.not_ports))
        protocol = rule.protocol.lower() if isinstance(rule.protocol, str) else rule.protocol
        if is_numeric and protocol not in PORT_PROTOCOLS:
            yield Fault(f"{pointer}/protocol", f"{name} ports need protocol TCP, UDP, SCTP or UDPLite")


def _is_protocol(protocol: int | str | None) -> bool:
    if isinstance(protocol, int):
        return 1 <= protocol <= 255
    return protocol is None or protocol.lower() in {name.lower() for name in PROTOCOLS}


def _icmp_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    for name, match in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if match is None:
            continue
        if str(rule.protocol).lower() not in ("icmp", "icmpv6", "1", "58"):
            yield Fault(f"{pointer}/protocol", f"{name} needs protocol ICMP or ICMPv6")
        yield from _icmp_range_faults(f"{pointer}/{name}", match)


def _version_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    for name, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        word = str(protocol).lower()
        if (word == "icmp" and rule.ip_version == 6) or (word == "icmpv6" and rule.ip_version == 4):
            yield Fault(f"{pointer}/{name}", f"{protocol} does not go with ipVersion {rule.ip_version}")


def _http_faults(pointer: str, rule: Rule) -> Iterable[Fault]:
    if rule.action != "Allow":
        yield Fault(f"{pointer}/http", "stands in Allow rules only")
    if rule.protocol is not None and str(rule.protocol).lower() not in ("tcp", "6"):
        yield Fault(f"{pointer}/protocol", "http needs protocol TCP, or none")
    for index, path in enumerate(rule.http.paths if rule.http else ()):
        if bool(path.exact) == bool(path.prefix):
            yield Fault(f"{pointer}/http/paths/{index}", "one of exact, prefix is needed")


def _service_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    accounts = entity.service_accounts
    if accounts is not None and not accounts.names and not accounts.selector:
        yield Fault(f"{pointer}/serviceAccounts", "names or selector is needed")
    if entity.services is None:
        return
    if not entity.services.name:
        yield Fault(f"{pointer}/services/name", "is needed")
    others = (
        entity.selector,
        entity.not_selector,
        entity.namespace_selector,
        accounts,
        entity.nets,
        entity.not_nets,
    )
    if any(others):
        yield Fault(f"{pointer}/services", "stands alone: no selectors, service accounts or nets beside it")
    if pointer.endswith("/destination") and (entity.ports or entity.not_ports):
        yield Fault(f"{pointer}/ports", "the service has its own ports")


def _icmp_range_faults(pointer: str, match: IcmpMatch) -> Iterable[Fault]:
    if match.type is not None and not 0 <= match.type <= 254:
        yield Fault(f"{pointer}/type", f"{match.type} is not in 0-254")
    if match.code is not None and not 0 <= match.code <= 255:
        yield Fault(f"{pointer}/code", f"{match.code} is not in 0-255")
    if match.type is None:
        yield Fault(f"{pointer}/type", "is needed")


def _entity_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    for name, text in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
    ):
        try:
            selector = parse(text)
        except SelectorError as error:
            yield Fault(f"{pointer}/{name}", error.message)
            continue
        if "global()" in selector.text and (name != "namespaceSelector" or selector.text != "global()"):
            yield Fault(f"{pointer}/{name}", "global() stands only in a namespaceSelector, and alone")
    if entity.service_accounts is not None and entity.service_accounts.selector:
        try:
            parse(entity.service_accounts.selector)
        except SelectorError as error:
            yield Fault(f"{pointer}/serviceAccounts/selector", error.message)
    yield from _net_faults(pointer, entity)
    yield from _service_faults(pointer, entity)
    for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        if len(ports) > MAX_PORTS:
            yield Fault(f"{pointer}/{name}", f"more than {MAX_PORTS} entries")
        for index, port in enumerate(ports):
            yield from _port_faults(f"{pointer}/{name}/{index}", port)


def _net_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        if len(nets) > MAX_NETS:
            yield Fault(f"{pointer}/{name}", f"more than {MAX_NETS} entries")
        if len({net.version for net in nets}) > 1:
            yield Fault(f"{pointer}/{name}", "IPv4 and IPv6 prefixes in one rule: write two rules")
    for index, net in enumerate(entity.not_nets):
        if net.prefixlen == 0:
            yield Fault(f"{pointer}/notNets/{index}", f"{net} excludes everything")


def _port_faults(pointer: str, port: Port) -> Iterable[Fault]:
    if _is_name(port):
        if not str(port).replace("-", "").replace(".", "").replace("_", "").isalnum():
            yield Fault(pointer, f"{port!r} is not a port's number, range (low:high) or name")
        return
    low, _, high = str(port).partition(":")
    if not low.isdigit() or not (high or low).isdigit():
        yield Fault(pointer, f"{port!r} is not a range (low:high)")
    elif not 0 <= int(low) <= int(high or low) <= 65535:
        yield Fault(pointer, f"{port!r} is not in 0-65535, or the wrong way round")


def _is_name(port: Port) -> bool:
    return isinstance(port, str) and ":" not in port and not port.isdigit()
