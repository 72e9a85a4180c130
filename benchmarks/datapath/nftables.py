"""A world in nftables' own words: a set per selector, conntrack's state first, a verdict map from interface to chain. Pure text."""

from collections.abc import Iterable, Iterator

from benchmarks.datapath.iptables import set_name, span
from benchmarks.datapath.worlds import ANY, UDP, Change, Line, Member, World

TABLE = "ip bench"


def ruleset(given: World) -> str:
    """For `nft -f`: the whole table, in place of one that stands."""
    parts = [f"table {TABLE} {{}}", f"delete table {TABLE}", f"table {TABLE} {{"]
    for group, addresses in enumerate(given.members):
        parts.append(f"set {set_name(group)} {{ type ipv4_addr; {_elements(addresses)} }}")
    if given.networks:
        parts.append(network_set(given.networks))
    for interface, lines in given.lists.items():
        parts += [f"chain {chain(interface)} {{", *_rules(lines), "}"]
    jumps = ", ".join(f'"{interface}" : jump {chain(interface)}' for interface in given.lists)
    parts += [
        "chain forward {",
        "type filter hook forward priority 0; policy accept;",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        f"oifname vmap {{ {jumps} }}",
        "}",
        "}",
        "",
    ]
    return "\n".join(parts)


def chain(interface: str) -> str:
    """The chain of an endpoint."""
    return f"to_{interface}"


def policy(interface: str, lines: Iterable[Line]) -> str:
    """For `nft -f`: one endpoint's rules written anew, in one transaction."""
    name = chain(interface)
    return "\n".join(
        [f"flush chain {TABLE} {name}", f"table {TABLE} {{", f"chain {name} {{", *_rules(lines), "}", "}", ""]
    )


def update(change: Change) -> str:
    """For `nft -f`: all of a change in one transaction."""
    parts = []
    for group, members in change.come.items():
        if group is None:
            parts += [f"table {TABLE} {{", network_set(members), "}"]
        else:
            parts.append(f"add element {TABLE} {set_name(group)} {{ {', '.join(map(str, members))} }}")
    parts += (policy(interface, own) for interface, own in change.lists.items())
    for group, members in change.gone.items():
        if group is None:
            parts.append(f"delete set {TABLE} {set_name(group)}")
        else:
            parts.append(f"delete element {TABLE} {set_name(group)} {{ {', '.join(map(str, members))} }}")
    return "\n".join([*parts, ""])


def network_set(networks: Iterable[Member]) -> str:
    """The set of networks, for within the table."""
    return f"set {set_name(None)} {{ type ipv4_addr; flags interval; {_elements(networks)} }}"


def _rules(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        protocol = "udp" if line.protocol == UDP else "tcp"
        ports = (
            f"{protocol} dport {span(line.ports, '-')}" if line.ports != ANY else f"meta l4proto {protocol}"
        )
        yield f"{ports} ip saddr @{set_name(line.group)} accept"
    yield "drop"


def _elements(members: Iterable[Member]) -> str:
    text = ", ".join(map(str, members))
    return f"elements = {{ {text} }}" if text else ""
