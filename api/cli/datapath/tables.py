"""`causeway agent maps`, `endpoints` and `conntrack`: what the kernel holds, line by line."""

import sys
import time
from itertools import islice
from typing import Annotated

import typer

from api.cli.common import OUT
from api.cli.datapath.choice import NodeOption, OutputOption, StateDirOption, chosen
from api.cli.datapath.show import as_json, as_table, seconds, size
from federation.errors import CausewayError, NotFound
from nodeagent.dataplane.ebpf.inspect.connections import ConnectionLine, connection_lines
from nodeagent.dataplane.ebpf.inspect.endpoints import endpoint_lines, faults_of_endpoints
from nodeagent.dataplane.ebpf.inspect.fill import Fill, fills
from nodeagent.dataplane.ebpf.inspect.names import Names, load
from nodeagent.dataplane.ebpf.inspect.pins import open_pins
from nodeagent.status import read_status


def maps(
    context: typer.Context, state_dir: StateDirOption = None, node: NodeOption = "", output: OutputOption = "table"
) -> None:  # fmt: skip
    """How full each map of this node's kernel is, and its memory. Exit code 1 when one is nearly full."""
    settings = chosen(context, state_dir, node, output)
    with open_pins(settings.pins) as pins:
        found = fills(pins)
    if output == "json":
        as_json(found)
    else:
        titles = ("MAP", "KIND", "ENTRIES", "CAPACITY", "FULL", "KEY", "VALUE", "MEMORY", "")
        as_table(titles, (_cells(fill) for fill in found))
        total = sum(fill.memory for fill in found)
        OUT.print(f"{size(total)} of kernel memory; pinned in {pins.folder}", highlight=False, markup=False)
    full = [fill.name for fill in found if fill.is_full_soon]
    if full:
        sys.stderr.write(f"causeway: nearly full: {', '.join(full)} (docs/operations.md says what to do)\n")
    raise typer.Exit(1 if full else 0)


def _cells(fill: Fill) -> tuple[str, ...]:
    is_fixed = fill.note == "fixed"
    return (
        fill.name,
        fill.kind,
        "" if is_fixed else str(fill.entries),
        str(fill.capacity),
        "" if is_fixed else f"{100 * fill.entries / max(fill.capacity, 1):.0f}%",
        str(fill.key_bytes),
        str(fill.value_bytes),
        size(fill.memory),
        "NEARLY FULL" if fill.is_full_soon else fill.note,
    )


def endpoints(
    context: typer.Context, state_dir: StateDirOption = None, node: NodeOption = "", output: OutputOption = "table"
) -> None:  # fmt: skip
    """The endpoints that this node's kernel polices. Exit code 1 when one is not policed as wanted."""
    settings = chosen(context, state_dir, node, output)
    try:
        faults = faults_of_endpoints(read_status(settings.state_dir).faults)
    except CausewayError:
        faults = {}
    with open_pins(settings.pins) as pins:
        found = endpoint_lines(pins, load(settings.state_dir), faults)
    if output == "json":
        as_json(found)
    else:
        titles = (
            "ENDPOINT",
            "INTERFACE",
            "ADDRESSES",
            "IDENTITY",
            "EPOCH",
            "BANK",
            "INGRESS",
            "EGRESS",
            "STATE",
        )
        as_table(
            titles,
            (
                (
                    line.endpoint, line.interface, ", ".join(line.addresses), line.identity_name, str(line.epoch), str(line.bank),
                    _rules(line.ingress_rules), _rules(line.egress_rules), line.state,
                )
                for line in found
            ),
        )  # fmt: skip
    raise typer.Exit(0 if all(line.state == "policed" for line in found) else 1)


def _rules(count: int) -> str:
    return "no policy" if count == 0 else "denied all" if count < 0 else f"{count} rules"


def conntrack(
    context: typer.Context,
    endpoint: Annotated[str, typer.Option(help="Of this endpoint only (NAMESPACE/NAME, or with its cluster).")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Lines at most; 0: all.")] = 200,
    state_dir: StateDirOption = None,
    node: NodeOption = "",
    output: OutputOption = "table",
) -> None:  # fmt: skip
    """The connections that this node's kernel remembers, and the rule that let each through."""
    settings = chosen(context, state_dir, node, output)
    with open_pins(settings.pins) as pins:
        names = load(settings.state_dir)
        only = _endpoint_named(names, endpoint) if endpoint else ""
        lines = connection_lines(pins, names, time.clock_gettime_ns(time.CLOCK_MONOTONIC), only)
        found = list(islice(lines, limit or None))
        is_more = limit and next(lines, None) is not None
    if output == "json":
        as_json(found)
    else:
        titles = (
            "ENDPOINT",
            "",
            "REMOTE",
            "PROTOCOL",
            "STATE",
            "AGE",
            "EXPIRES",
            "SENT",
            "RECEIVED",
            "RTT",
            "ALLOWED BY",
        )
        as_table(titles, (_connection(line) for line in found))
    if is_more:
        sys.stderr.write(f"the first {limit} only: --limit 0 shows all\n")


def _endpoint_named(names: Names, text: str) -> str:
    local = [one.endpoint for one in names.node.endpoints]
    found = [path for path in local if path == text or path.endswith(f"/{text}")]
    if len(found) != 1:
        many = "several endpoints are" if found else "no endpoint of this node is"
        raise NotFound(f"{many} called {text!r}", hint=f"here are: {', '.join(sorted(found or local)[:8])}")
    return found[0]


def _connection(line: ConnectionLine) -> tuple[str, ...]:
    remote = line.remote if line.remote_name == line.remote else f"{line.remote_name} {line.remote}"
    state = line.state if line.is_current else f"{line.state}, judged anew with its next packet"
    return (
        f"{line.local_name}:{line.local_port}",
        "->" if line.direction == "egress" else "<-",
        f"{remote}:{line.remote_port}",
        line.protocol,
        state,
        seconds(line.age_seconds),
        seconds(line.expires_seconds),
        f"{line.packets_sent} / {size(line.bytes_sent)}",
        f"{line.packets_received} / {size(line.bytes_received)}",
        f"{line.rtt_microseconds / 1000:.1f}ms" if line.rtt_microseconds else "",
        "no policy" if line.rule == "none" else line.rule,
    )
