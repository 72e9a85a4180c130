"""A world as Calico's Felix would write it: `ipset restore` for the selectors, `iptables-restore` for the chains. Pure text.

Its shape: from FORWARD by marks into a dispatch (a tree by the interface's name), into the endpoint's chain, which accepts what conntrack
knows before anything else, into its policy's chain: two rules a line, one that sets the accept mark and one that returns on it. Left out:
comments, raw and mangle tables, host endpoints' chains (empty ones stand for them): all that would only cost more.
"""

from collections.abc import Iterable, Iterator

from benchmarks.datapath.worlds import (
    ANY,
    BYSTANDERS,
    CLIENT_INTERFACE,
    TARGET_INTERFACE,
    Change,
    Line,
    Member,
    World,
)

ACCEPT, PASS = "0x10000/0x10000", "0x20000"
NETWORKS = "networks"
NETWORKS_ARE = "hash:net family inet maxelem 1048576"


def set_name(group: int | None) -> str:
    """A selector's set."""
    return NETWORKS if group is None else f"s{group}"


def span(ports: tuple[int, int], sign: str) -> str:
    """A range of ports; of one, the port alone: the tools refuse what is no range."""
    low, high = ports
    return str(low) if low == high else f"{low}{sign}{high}"


def sets(given: World) -> str:
    """For `ipset restore`."""
    lines = []
    for group, addresses in enumerate(given.members):
        lines.append(f"create s{group} hash:ip family inet maxelem 1048576")
        lines += additions(group, addresses)
    if given.networks:
        lines.append(f"create {NETWORKS} {NETWORKS_ARE}")
        lines += additions(None, given.networks)
    return "\n".join(lines) + "\n"


def additions(group: int | None, members: Iterable[Member]) -> Iterator[str]:
    """Lines for `ipset restore` that put members into a set."""
    name = set_name(group)
    return (f"add {name} {member}" for member in members)


def chains(given: World) -> str:
    """For `iptables-restore`: the whole filter table."""
    lines = [
        "-A FORWARD -j cw-forward",
        f"-A FORWARD -m mark --mark {ACCEPT} -j ACCEPT",
        "-A cw-forward -j MARK --set-xmark 0x0/0xe0000",
        "-A cw-forward -m mark --mark 0x0/0x10000 -j cw-from-hep",
        "-A cw-forward -i pod+ -j cw-from-wl",
        "-A cw-forward -o pod+ -j cw-to-wl",
        "-A cw-forward -j cw-to-hep",
        "-A cw-forward -j cw-cidr-block",
        f"-A cw-profile -j MARK --set-xmark {ACCEPT}",
        f"-A cw-profile -m mark --mark {ACCEPT} -j RETURN",
    ]
    names = [name for name in BYSTANDERS if name in given.lists]
    for way, flag in (("from", "-i"), ("to", "-o")):
        lines += _dispatch(way, flag, names)
    for interface in (CLIENT_INTERFACE, TARGET_INTERFACE, *names):
        lines += _endpoint(f"cw-from-{interface}", "")
        lines += _endpoint(f"cw-to-{interface}", policy_chain(interface) if interface in given.lists else "")
    for interface, own in given.lists.items():
        lines += _policy(interface, own)
    used = {word for line in lines for word in line.split() if word.startswith("cw-")}
    heads = [":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    return "\n".join(
        ["*filter", *heads, *(f":{name} - [0:0]" for name in sorted(used)), *lines, "COMMIT", ""]
    )


def updates(change: Change) -> Iterator[tuple[tuple[str, ...], str]]:
    """Commands, each with its input: members before the rules that need them, and removals last."""
    lines = [f"create {NETWORKS} {NETWORKS_ARE}"] if None in change.come else []
    lines += (line for group, members in change.come.items() for line in additions(group, members))
    if lines:
        yield ("ipset", "restore"), "\n".join([*lines, ""])
    for interface, own in change.lists.items():
        yield ("iptables-restore", "--noflush"), policy(interface, own)
    lines = [f"destroy {NETWORKS}"] if None in change.gone else []
    lines += (
        f"del {set_name(group)} {m}" for group, ms in change.gone.items() if group is not None for m in ms
    )
    if lines:
        yield ("ipset", "restore"), "\n".join([*lines, ""])


def policy_chain(interface: str) -> str:
    """The chain that holds an endpoint's own rules."""
    return f"cw-pi-{interface}"


def policy(interface: str, lines: Iterable[Line]) -> str:
    """For `iptables-restore --noflush`: one policy's chain, written anew as a whole, as Felix does."""
    return "\n".join(
        ["*filter", f":{policy_chain(interface)} - [0:0]", *_policy(interface, lines), "COMMIT", ""]
    )


def _policy(interface: str, lines: Iterable[Line]) -> Iterator[str]:
    chain = policy_chain(interface)
    for line in lines:
        ports = "" if line.ports == ANY else f" -m multiport --dports {span(line.ports, ':')}"
        source = f"-m set --match-set {set_name(line.group)} src"
        yield f"-A {chain} -p {line.protocol} {source}{ports} -j MARK --set-xmark {ACCEPT}"
        yield f"-A {chain} -m mark --mark {ACCEPT} -j RETURN"


def _dispatch(way: str, flag: str, names: list[str]) -> Iterator[str]:
    """By the first letter after what all names have in common; the two pods stand in the middle, where a random name would."""
    tens = sorted({name[:5] for name in names})
    middle = len(tens) // 2
    root = [f"{flag} {start}+ -g cw-{way}-wl-{start}" for start in tens]
    root[middle:middle] = [f"{flag} {pod} -g cw-{way}-{pod}" for pod in (CLIENT_INTERFACE, TARGET_INTERFACE)]
    yield from (f"-A cw-{way}-wl {rule}" for rule in root)
    yield f"-A cw-{way}-wl -j DROP"
    for start in tens:
        for name in names:
            if name.startswith(start):
                yield f"-A cw-{way}-wl-{start} {flag} {name} -g cw-{way}-{name}"
        yield f"-A cw-{way}-wl-{start} -j DROP"


def _endpoint(chain: str, policy_of_it: str) -> Iterator[str]:
    """An endpoint's chain of one direction; without a policy its profile lets everything through."""
    yield f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    yield f"-A {chain} -m conntrack --ctstate INVALID -j DROP"
    yield f"-A {chain} -j MARK --set-xmark 0x0/0x10000"
    if chain.startswith("cw-from-"):  # no tunnels out of pods
        yield f"-A {chain} -p udp -m multiport --dports 4789 -j DROP"
        yield f"-A {chain} -p 4 -j DROP"
    if policy_of_it:
        yield f"-A {chain} -j MARK --set-xmark 0x0/{PASS}"
        yield f"-A {chain} -m mark --mark 0x0/{PASS} -j {policy_of_it}"
        yield f"-A {chain} -m mark --mark {ACCEPT} -j RETURN"
        yield f"-A {chain} -m mark --mark 0x0/{PASS} -j DROP"
    yield f"-A {chain} -j cw-profile"
    yield f"-A {chain} -m mark --mark {ACCEPT} -j RETURN"
    yield f"-A {chain} -j DROP"
