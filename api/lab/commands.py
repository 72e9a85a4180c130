"""`causeway lab` and `causeway demo`."""

import os
import subprocess
import sys
import uuid
from typing import Annotated, Any

import typer
from rich.console import Console

from api.lab import build
from federation.errors import NotFound

app = typer.Typer(no_args_is_help=True, help="A federation of network namespaces on this machine (root).")
OUT = Console(soft_wrap=True)
Name = Annotated[str, typer.Option(help="The lab's name; without it, the only one that stands.")]
AsJson = Annotated[str, typer.Option("-o", "--output", help="table or json.")]


@app.command()
def up(
    name: Annotated[str, typer.Option(help="The lab's name; without it, a new one.")] = "",
    clusters: Annotated[int, typer.Option(help="1 to 8.")] = 2,
    nodes: Annotated[int, typer.Option(help="Of each cluster, 1 to 9.")] = 2,
    workloads: Annotated[int, typer.Option(help="Of each cluster, 0 to 20.")] = 4,
) -> None:
    """Build a lab, linked to nothing yet."""
    from api.lab.federation import must_be_root
    from api.lab.federation import up as build_up
    from api.lab.topology import topology

    must_be_root()
    wanted = topology(name or uuid.uuid4().hex[:5], clusters, nodes, workloads)
    is_new = not (build.LABS / wanted.name).exists()
    try:
        with OUT.status("building") as line:
            lab = build_up(wanted, on_step=line.update)
    except BaseException:
        if is_new:
            build.down(wanted.name)
        raise
    url = f"http://127.0.0.1:{lab.port}"
    OUT.print(
        f"lab {wanted.name}: CAUSEWAY_SERVER={url} CAUSEWAY_TOKEN_FILE={lab.folder}/server/admin.token",
        highlight=False,
    )


@app.command()
def status(name: Name = "", output: AsJson = "table") -> None:
    """The labs that stand, and what of each is alive."""
    from api.lab.federation import opened

    names = sorted(path.name for path in build.LABS.glob("*")) if build.LABS.exists() else []
    if name and name not in names:
        raise NotFound(f"lab {name} does not stand", hint="causeway lab status")
    found: list[dict[str, Any]] = []
    for each in [name] if name else names:
        facts: dict[str, Any] = {"name": each, "namespaces": len(build.standing(each))}
        try:
            lab = opened(each)
        except NotFound:
            found.append({**facts, "controlPlane": "not known", "agents": {}})
            continue
        agents = {
            f"{node.cluster}/{node.name}": "running" if lab.is_alive(node.netns) else "dead"
            for node in lab.topology.nodes
        }
        server = "running" if lab.is_alive("server") else "dead"
        found.append({**facts, "controlPlane": server, "url": lab.client.server, "agents": agents})
    if output == "json":
        OUT.print_json(data=found)
        return
    if not found:
        OUT.print("no lab stands")
    for facts in found:
        OUT.print(
            f"{facts['name']}: {facts['namespaces']} namespaces, control plane {facts['controlPlane']} {facts.get('url', '')}",
            highlight=False,
        )
        for node, word in facts["agents"].items():
            OUT.print(f"  agent {node}: {word}", highlight=False)


@app.command()
def matrix(name: Name = "", output: AsJson = "table") -> None:
    """Who reaches whom, by real connections, held against the policy engine. Exit code 1 when a cell differs."""
    from api.lab.demo import print_matrix
    from api.lab.federation import opened

    lab = opened(name)
    with OUT.status("connecting"):
        measured, predicted = lab.measured(), lab.predicted()
    wrong = sorted(cell for cell in measured if measured[cell] != predicted[cell])
    if output == "json":
        cells = [
            {"from": a, "to": b, "protocol": p, "reached": up, "predicted": predicted[a, b, p]}
            for (a, b, p), up in sorted(measured.items())
        ]
        OUT.print_json(data=cells)
    else:
        print_matrix(lab, measured)
        OUT.print(
            f"{len(measured) - len(wrong)} of {len(measured)} cells as the policy engine predicts",
            highlight=False,
        )
        for a, b, protocol in wrong:
            OUT.print(f"differs: {a} to {b} {protocol}", highlight=False)
    raise typer.Exit(1 if wrong else 0)


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run_inside(
    where: Annotated[str, typer.Argument(help="cluster/namespace/workload, or cluster/node.")],
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    name: Name = "",
) -> None:
    """Run a command in the network of a workload or a node; its exit code is ours."""
    from api.lab.federation import opened

    topology = opened(name).topology
    places = {w.path: w.netns for w in topology.workloads} | {f"{n.cluster}/{n.name}": n.netns for n in topology.nodes}  # fmt: skip
    if where not in places:
        raise NotFound(
            f"{where!r} is not in lab {topology.name}", hint=f"one of: {', '.join(sorted(places))}"
        )
    sys.stdout.flush()
    done = subprocess.run(build.inside(places[where], *command), check=False, env=os.environ)
    raise typer.Exit(done.returncode)


@app.command()
def down(name: Name = "") -> None:
    """Remove a lab, whatever of it stands (also after a crash)."""
    if not name:
        from api.lab.federation import opened

        name = opened("").topology.name
    build.down(name)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running.")] = False,
    name: Annotated[str, typer.Option(help="The lab's name; without it, a new one.")] = "",
) -> None:
    """Link and police two clusters on this machine, step by step."""
    from api.lab.demo import demo as run

    run(keep, name)
