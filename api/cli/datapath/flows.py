"""`causeway agent flows`: what this node's kernel let through and denied, in names."""

import json
import sys
import threading
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from api.cli.client import harmless
from api.cli.datapath.choice import NodeOption, OutputOption, StateDirOption, chosen
from api.cli.datapath.show import as_table, size
from federation.errors import CausewayError, InvalidInput
from nodeagent.dataplane.ebpf.inspect.names import Names, load
from nodeagent.dataplane.ebpf.observe.flow_log import Follower, Line, lines_of

TITLES = ("TIME", "ENDPOINT", "", "PEER", "SERVICE", "VERDICT", "TIMES", "BYTES", "RULE")
LOOK_SECONDS = 0.5


def flows(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on showing what comes.")] = False,
    last: Annotated[int, typer.Option(min=0, help="Lines of the past; 0: all that are kept.")] = 50,
    endpoint: Annotated[str, typer.Option(help="Of this endpoint only (its path, or the end of it).")] = "",
    verdict: Annotated[str, typer.Option(help="allowed, denied, cut or logged only.")] = "",
    state_dir: StateDirOption = None,
    node: NodeOption = "",
    output: OutputOption = "table",
) -> None:  # fmt: skip
    """Flows of this node, those that are alike as one line for each window (setting flow_seconds)."""
    settings = chosen(context, state_dir, node, output)
    if verdict not in ("", "allowed", "denied", "cut", "logged"):
        raise InvalidInput(f"unknown verdict {verdict!r}", hint="one of allowed, denied, cut, logged")
    if settings.flows == "off":
        hint = 'flows = "denied" (or "all") in agent.toml, then start the agent again'
        sys.stderr.write(f"causeway: this agent's flows are off; {hint}\n")
    follower = Follower(settings.state_dir)

    def wanted(lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if _is_wanted(line, endpoint, verdict)]

    try:
        _show(wanted(lines_of(settings.state_dir))[-last:], _names(settings.state_dir), output)
        while follow:
            threading.Event().wait(LOOK_SECONDS)
            if lines := wanted(follower.more()):
                _show(lines, _names(settings.state_dir), output, has_titles=False)
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}", hint="ask as root") from error


def _is_wanted(line: Line, endpoint: str, verdict: str) -> bool:
    if "endpoint" not in line:
        return not endpoint and not verdict
    path = str(line["endpoint"])
    is_its = not endpoint or path == endpoint or path.endswith(f"/{endpoint}")
    return is_its and (not verdict or line["verdict"] == verdict)


def _names(state_dir: Any) -> Names:
    try:
        return load(state_dir)
    except CausewayError:
        return Names()  # numbers, then


def _show(lines: list[Line], names: Names, output: str, *, has_titles: bool = True) -> None:
    if output == "json":
        sys.stdout.writelines(json.dumps(_named(line, names)) + "\n" for line in lines)
    elif has_titles:
        as_table(TITLES, (_cells(line, names) for line in lines))
    else:
        sys.stdout.writelines(
            harmless("  ".join(c for c in _cells(line, names) if c)) + "\n" for line in lines
        )
    sys.stdout.flush()


def _named(line: Line, names: Names) -> dict[str, Any]:
    if "peer" not in line:
        return dict(line)
    return {
        **line,
        "peerName": names.who(ip_address(line["peer"])),
        "identityName": names.identity(line["identity"]),
    }


def _cells(line: Line, names: Names) -> tuple[str, ...]:
    moment = str(line["at"])[11:19]
    if "peer" not in line:
        said = f"{line['lost']} events were lost" if line["lost"] else ""
        others = f"{line['others']} events of further flows" if line["others"] else ""
        return (moment, "; ".join(part for part in (said, others) if part), *[""] * (len(TITLES) - 2))
    who = names.who(ip_address(line["peer"]))
    peer = who if who != line["peer"] else f"{who} {names.identity(line['identity']).partition(' ')[2]}"
    ports = f"/{line['port']}" if line["port"] else ""
    reason = f" ({line['reason']})" if line["reason"] not in ("", line["verdict"], "denied") else ""
    return (
        moment,
        line["endpoint"],
        "->" if line["direction"] == "egress" else "<-",
        peer.strip(),
        f"{line['protocol']}{ports}",
        f"{line['verdict']}{reason}",
        str(line["times"]),
        size(sum(line["bytes"])),
        line["rule"],
    )
