"""The same policy for each contender: N rules by the source's identity and port, of which only the last lets the client in."""

import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from api.lab import build
from benchmarks.pods import FIRST_PORT, PORTS, SOURCE, TARGET, Pods
from federation.identities import IdentityNumber
from federation.policy.tables import CompiledRule, RuleAction, Tables
from federation.resources.metadata import ObjectKey
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import Attachment, DesiredPolicy

OPEN = (FIRST_PORT, FIRST_PORT + PORTS - 1)
IPERF_PORT = 5201
BYSTANDERS = 100
"""Addresses that the rules before the last one name, together."""
STRANGER = IPv4Address("192.0.2.1")
"""An address that no rule names."""
CLIENT, SERVER, FIRST_BYSTANDER = IdentityNumber(300), IdentityNumber(301), 1000


def bystanders(number: int) -> list[IPv4Address]:
    """Addresses of other endpoints of the federation."""
    return [IPv4Address("10.100.0.0") + n for n in range(number)]


def desired(rules: int, endpoints: int = BYSTANDERS, is_remembered: bool = True) -> DesiredPolicy:
    """For our driver: the target's ingress is N rules, and the denial at the end of the tier. `is_remembered`: whether the programs may
    keep answers (they may not when a rule asks for source ports, as the first one then does)."""
    last = rules - 1
    lines = [
        CompiledRule(action=RuleAction.ALLOW, bit=n, protocol=6, destination_ports=OPEN, rule_id=n + 1)
        for n in range(rules)
    ]
    lines[last:] = [
        CompiledRule(action=RuleAction.ALLOW, bit=last, protocol=6, rule_id=rules),
        CompiledRule(action=RuleAction.DENY),
    ]
    if not is_remembered:
        lines[0] = replace(lines[0], source_ports=(1, 65535))
    others = bystanders(endpoints)
    addresses = {SOURCE: CLIENT, TARGET: SERVER}
    addresses.update({a: IdentityNumber(FIRST_BYSTANDER + n % rules) for n, a in enumerate(others)})
    rows = {CLIENT: 1 << last, SERVER: 0}
    rows.update({IdentityNumber(FIRST_BYSTANDER + n): 1 << n for n in range(rules)})
    keys = [ObjectKey("Endpoint", "dc1", "bench", name) for name in ("client", "server")]
    tables = Tables(
        bit_count=rules,
        identity_rows=rows,
        classes=(((), ()), (tuple(lines), ())),
        subjects={key: n for n, key in enumerate(keys)},
    )
    ends = ((SOURCE, CLIENT), (TARGET, SERVER))
    attachments = tuple(
        Attachment(
            endpoint=keys[n].path,
            interface=f"pod{n + 1}",
            class_number=n,
            identity=identity,
            addresses=(address,),
        )
        for n, (address, identity) in enumerate(ends)
    )
    return DesiredPolicy(tables=tables, addresses=addresses, attachments=attachments)


def on_loopback(wanted: DesiredPolicy) -> DesiredPolicy:
    """The same, with the target's endpoint where packets of test runs come from."""
    client, server = wanted.attachments
    return replace(wanted, attachments=(client, replace(server, interface="lo")))


def enforce(driver: EbpfDriver, node: Pods, wanted: DesiredPolicy) -> None:
    """Ours, in the node's namespace. Every fault is one too many."""
    with node.entered():
        reports = driver.converge(wanted)
    if reports:
        raise RuntimeError(f"not enforced: {reports}")


def enforce_nftables(node: Pods, rules: int, endpoints: int = BYSTANDERS) -> None:
    """As a node's nftables (or iptables with ipset) would do it: established first, a map from interface to the pod's chain, a set per
    selector."""
    members = {
        n: [str(a) for i, a in enumerate(bystanders(endpoints)) if i % rules == n] for n in range(rules)
    }
    members[rules - 1].append(str(SOURCE))
    sets = "".join(
        f"set s{n} {{ type ipv4_addr; {_elements(addresses)} }}\n" for n, addresses in members.items()
    )
    ports = [f"tcp dport {OPEN[0]}-{OPEN[1]}"] * (rules - 1) + ["meta l4proto tcp"]
    lines = "\n".join(f"{port} ip saddr @s{n} accept" for n, port in enumerate(ports))
    text = f"""
table ip bench {{}}
delete table ip bench
table ip bench {{
{sets}
chain pod2 {{
{lines}
drop
}}
chain forward {{
type filter hook forward priority 0; policy accept;
ct state established,related accept
oifname vmap {{ "pod2" : jump pod2 }}
}}
}}
"""
    command = build.inside(node.node, "nft", "-f", "-")
    subprocess.run(command, input=text, text=True, check=True, capture_output=True, timeout=20)


def has_nftables() -> bool:
    """Whether this machine has it."""
    return any((Path(folder) / "nft").exists() for folder in ("/usr/sbin", "/sbin", "/usr/bin"))


def _elements(addresses: list[str]) -> str:
    return f"elements = {{ {', '.join(addresses)} }}" if addresses else ""
