"""`causeway agent verdict`: what this node's kernel says of a new connection, and why; compared with what its agent wants."""

from typing import Annotated

import typer

from api.cli.common import OUT, literal
from api.cli.datapath.choice import NodeOption, OutputOption, StateDirOption, chosen
from api.cli.datapath.show import as_json
from federation.errors import InvalidInput
from federation.policy.walk import ICMP_PROTOCOLS, Packet
from nodeagent.dataplane.ebpf.inspect.connections import NUMBERS, protocol_name
from nodeagent.dataplane.ebpf.inspect.names import load
from nodeagent.dataplane.ebpf.inspect.pins import open_pins
from nodeagent.dataplane.ebpf.inspect.verdict import Answer, judge

WITH_PORTS = (6, 17, 132, 136)
COLOURS = {"allow": "green", "deny": "red"}


def verdict(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="CLUSTER/NAMESPACE/NAME (or its end), `host`, or an address.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="As FROM.")],
    port: Annotated[int, typer.Argument(metavar="PORT", min=-1, max=65535, help="For protocols with ports.")] = -1,
    protocol: Annotated[str, typer.Option(help="tcp, udp, sctp, icmp, icmpv6, or a number.")] = "tcp",
    source_port: Annotated[int, typer.Option(min=0, max=65535, help="Where the connection comes from.")] = 49152,
    icmp_type: Annotated[int, typer.Option(min=-1, max=255, help="Type of ICMP; an echo request if not told.")] = -1,
    icmp_code: Annotated[int, typer.Option(min=0, max=255, help="Code of ICMP.")] = 0,
    state_dir: StateDirOption = None,
    node: NodeOption = "",
    output: OutputOption = "table",
) -> None:  # fmt: skip
    """What the kernel's own maps say of a new connection, step by step, beside what the agent wants. Exit code 1 for deny, or a difference."""
    number = _number(protocol)
    if number in WITH_PORTS and port < 0:
        raise InvalidInput(f"{protocol} needs a PORT", hint="causeway agent verdict FROM TO 8080")
    if number not in WITH_PORTS and port >= 0:
        raise InvalidInput(f"{protocol} has no ports", hint="leave PORT out")
    echo = {1: 8, 58: 128}.get(number, 0)
    packet = Packet(
        protocol=number,
        source_port=source_port if number in WITH_PORTS else 0,
        destination_port=max(port, 0),
        icmp_type=echo if icmp_type < 0 else icmp_type,
        icmp_code=icmp_code if number in ICMP_PROTOCOLS else 0,
    )
    settings = chosen(context, state_dir, node, output)
    with open_pins(settings.pins) as pins:
        answer = judge(pins, load(settings.state_dir), settings.key, (source, to), packet)
    if output == "json":
        as_json(answer)
    else:
        _tell(answer, f"{protocol_name(number)}{f' port {port}' if port >= 0 else ''}")
    raise typer.Exit(0 if answer.verdict == "allow" and not answer.differs else 1)


def _number(protocol: str) -> int:
    number = NUMBERS.get(protocol.lower(), int(protocol) if protocol.isascii() and protocol.isdigit() else -1)
    if not 0 <= number <= 255:
        raise InvalidInput(f"unknown protocol {protocol!r}", hint=f"one of {', '.join(NUMBERS)}, or 0-255")
    return number


def _tell(answer: Answer, what: str) -> None:
    for side in answer.sides:
        other = "to" if side.direction == "egress" else "from"
        title = f"{side.direction} of {side.endpoint}, {other} {side.peer}, {what}"
        OUT.print(f"[bold]{literal(title)}[/]", highlight=False)
        for step in side.steps:
            OUT.print(f"  {step}", highlight=False, markup=False)
        said = side.said
        rule = "" if said.rule == "none" else f" by {literal(said.rule)}"
        OUT.print(f"  the kernel: [{COLOURS[said.verdict]}]{said.verdict}[/]{rule}", highlight=False)
        if side.wanted is None:
            OUT.print("  the agent:  not known", highlight=False)
            continue
        rule = "" if side.wanted.rule == "none" else f" by {literal(side.wanted.rule)}"
        OUT.print(
            f"  the agent:  [{COLOURS[side.wanted.verdict]}]{side.wanted.verdict}[/]{rule}", highlight=False
        )
        if side.differs:
            text = "THE KERNEL DOES NOT SAY WHAT THE AGENT WANTS: see causeway agent status; restart the agent to write all anew"
            OUT.print(f"  [bold red]{text}[/]", highlight=False)
    for note in answer.notes:
        OUT.print(f"note: {note}", highlight=False, markup=False)
    OUT.print(f"[{COLOURS[answer.verdict]}]{answer.verdict}[/]", highlight=False)
