"""`causeway explain`: why one connection passes or not, rule by rule; offline, or by what the control plane holds."""

from typing import Annotated, Any

import typer
import yaml

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile, literal
from api.cli.documents import documents
from api.cli.simulate import Cluster
from federation.doors.documents import POLICY_KINDS
from federation.errors import InvalidInput
from federation.kinds.registry import KINDS
from federation.policy.hosts import governed
from federation.policy.world import world_of
from federation.resources.codec import decode
from federation.simulation.probes import Judge
from federation.simulation.reading import Simulation, read
from federation.simulation.words import reason

STATE = (
    "Cluster", "Node", "Endpoint", "Tier", "GlobalNetworkSet", "NetworkSet", "Namespace", "ServiceAccount", "CiliumCIDRGroup", "HostEndpoint", "Profile", *POLICY_KINDS,
)  # fmt: skip
"""Kinds of the live state that bear on a verdict."""
FORMATS = ("text", "json", "yaml")


def explain(
    source: Annotated[str, typer.Argument(metavar="FROM", help="namespace/pod, cluster/namespace/pod, host:node, or an address.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="As FROM.")],
    port: Annotated[str, typer.Argument(metavar="PORT", help="Number or name; - for protocols without ports.")],
    protocol: Annotated[str, typer.Option(help="TCP, UDP, SCTP, ICMP, or a number.")] = "TCP",
    filename: Annotated[list[str] | None, typer.Option("-f", "--filename", help="Documents instead of the control plane's state.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="text, json or yaml.")] = "text",
    cluster: Cluster = "",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Why a connection passes or not: every tier, policy and rule looked at, and what did not match. Exit code 1 for Deny."""
    if output not in FORMATS:
        raise InvalidInput(f"unknown output {output!r}", hint=f"one of {', '.join(FORMATS)}")
    judge = Judge(read(documents(filename), cluster) if filename else _live(Client(server, token_file)))
    probe: dict[str, Any] = {"from": source, "to": to, "protocol": protocol}
    answer = judge.answer(probe if port == "-" else {**probe, "port": port}, has_trace=True)
    if output == "json":
        OUT.print_json(data=answer)
    elif output == "yaml":
        OUT.print(yaml.safe_dump(answer, sort_keys=False).rstrip(), markup=False, highlight=False)
    else:
        _tell(answer)
    raise typer.Exit(0 if answer["verdict"] == "Allow" else 1)


def _live(client: Client) -> Simulation:
    """What the control plane holds, as nodes are told it."""
    resources = [
        decode(item, is_trusted=True)
        for kind in KINDS
        if kind.name in STATE
        for item in client.all(f"/api/v1/{kind.plural}")
    ]
    return Simulation(world=governed(world_of(resources), resources), on_host={}, passed_over={})


def _tell(answer: dict[str, Any]) -> None:
    colour = {"Allow": "green", "Deny": "red"}
    sides = [("egress of " + answer["from"], answer["egress"])]
    sides += [(f"{hop['direction']} through host {hop['host']}", hop) for hop in answer.get("forward", ())]
    for title, decision in (*sides, ("ingress of " + answer["to"], answer["ingress"])):
        OUT.print(f"[bold]{literal(title)}[/]", highlight=False)
        for step in decision.get("trace", ()):
            name = "/".join(
                part
                for part in ((step["policy"] or {}).get("namespace"), (step["policy"] or {}).get("name"))
                if part
            )
            where = f"{name} {step['section']} {step['rule']}" if "rule" in step else "end of the tier"
            said = f"matches: {step['action']}" if step["matched"] else f"{step['mismatch']} does not match"
            if "rule" not in step:
                said = step["action"]
            OUT.print(f"  tier {step['tier']}: {where}: {said}", highlight=False, markup=False)
        OUT.print(f"  [{colour[decision['verdict']]}]{literal(reason(decision))}[/]", highlight=False)
    OUT.print(f"[{colour[answer['verdict']]}]{answer['verdict']}[/]", highlight=False)
