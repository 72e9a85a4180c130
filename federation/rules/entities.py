"""What types cannot see in one side of a rule: selectors, service accounts, services, prefixes, ports."""

import re
from collections.abc import Iterable

from federation.errors import Fault, SelectorError, shown
from federation.rules.model import EntityRule, Port
from federation.rules.names import PORT, name_faults
from federation.selectors import parse

MAX_PORTS = 50
MAX_NETS = 256
NUMBERS = re.compile(r"([0-9]{1,6})(?::([0-9]{1,6}))?")
"""A port's number, or a range of them."""


def entity_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    """Every fault of one side; pointers start with `pointer`, which ends in source or destination."""
    for name, text in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
    ):
        yield from selector_faults(f"{pointer}/{name}", text, is_of_namespaces=name == "namespaceSelector")
    yield from _account_faults(pointer, entity)
    yield from _net_faults(pointer, entity)
    yield from _service_faults(pointer, entity)
    for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        if len(ports) > MAX_PORTS:
            yield Fault(f"{pointer}/{name}", f"more than {MAX_PORTS} entries")
        for index, port in enumerate(ports):
            yield from _port_faults(f"{pointer}/{name}/{index}", port)


def selector_faults(pointer: str, text: str, *, is_of_namespaces: bool = False) -> Iterable[Fault]:
    """The fault of one selector, with its position. `global()` is for a rule's namespaceSelector, and stands alone there."""
    try:
        selector = parse(text)
    except SelectorError as error:
        yield Fault(pointer, error.message)
        return
    if "global()" in selector.text and not (is_of_namespaces and selector.text == "global()"):
        yield Fault(pointer, "global() stands only in a rule's namespaceSelector, and alone")


def is_name(port: Port) -> bool:
    """Whether it is a port's name, neither a number nor a range."""
    return isinstance(port, str) and ":" not in port and not (port.isascii() and port.isdigit())


def _account_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    accounts = entity.service_accounts
    if accounts is None:
        return
    if not accounts.names and not accounts.selector:
        yield Fault(f"{pointer}/serviceAccounts", "names or selector is needed")
    yield from selector_faults(f"{pointer}/serviceAccounts/selector", accounts.selector)


def _service_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    services = entity.services
    if services is None:
        return
    if not services.name:
        yield Fault(f"{pointer}/services/name", "is needed")
    else:
        yield from name_faults(f"{pointer}/services/name", services.name)
    if services.namespace:
        yield from name_faults(f"{pointer}/services/namespace", services.namespace)
    others = (
        entity.selector,
        entity.not_selector,
        entity.namespace_selector,
        entity.service_accounts,
        entity.nets,
        entity.not_nets,
    )
    if any(others):
        yield Fault(f"{pointer}/services", "stands alone: no selectors, service accounts or nets beside it")
    if pointer.endswith("/destination"):
        for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            if ports:
                yield Fault(f"{pointer}/{name}", "the service has its own ports")


def _net_faults(pointer: str, entity: EntityRule) -> Iterable[Fault]:
    for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        if len(nets) > MAX_NETS:
            yield Fault(f"{pointer}/{name}", f"more than {MAX_NETS} entries")
    for index, net in enumerate(entity.not_nets):
        if net.prefixlen == 0:
            yield Fault(f"{pointer}/notNets/{index}", f"{net} excludes everything")


def _port_faults(pointer: str, port: Port) -> Iterable[Fault]:
    if is_name(port):
        if not PORT.fullmatch(str(port)):
            yield Fault(pointer, f"{shown(port)} is not a port's number, range (low:high) or name")
        return
    found = NUMBERS.fullmatch(str(port))
    if found is None:
        yield Fault(pointer, f"{shown(port)} is not a range (low:high)")
    elif not 1 <= int(found[1]) <= int(found[2] or found[1]) <= 65535:
        yield Fault(pointer, f"{shown(port)} is not in 1-65535, or the wrong way round")
