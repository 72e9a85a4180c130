"""`causeway lab` and `causeway demo`."""

import os
import sys
import uuid
from typing import Annotated

import typer

from api.lab import build
from api.lab.topology import MAX_CLUSTERS, MAX_NODES, MAX_WORKLOADS, Topology, topology
from federation.errors import InvalidInput, NotFound

app = typer.Typer(no_args_is_help=True, help="A federation of network namespaces on this machine (root).")
Name = Annotated[str, typer.Option(help="The lab's name; without it, the only one that stands.")]
NewName = Annotated[str, typer.Option(help="The lab's name; without it, a new one.")]
Output = Annotated[str, typer.Option("-o", "--output", help="table or json.")]


@app.command()
def up(
    name: NewName = "",
    clusters: Annotated[int, typer.Option(help=f"1 to {MAX_CLUSTERS}.")] = 2,
    nodes: Annotated[int, typer.Option(help=f"Of each cluster, 1 to {MAX_NODES}.")] = 2,
    workloads: Annotated[int, typer.Option(help=f"Of each cluster, 0 to {MAX_WORKLOADS}.")] = 4,
) -> None:
    """Build a lab, linked to nothing yet. What goes wrong on the way is torn down again."""
    from api.lab.federation import claim, must_be_root
    from api.lab.show import OUT, build_up, ends_cleanly_when_told

    must_be_root()
    ends_cleanly_when_told()
    lab = claim(topology(new_name(name), clusters, nodes, workloads))
    try:
        build_up(lab)
    except BaseException:
        build.down(lab.topology.name)
        raise
    OUT.print(f"lab {lab.topology.name}: {lab.environment}")


@app.command()
def status(name: Name = "", output: Output = "table") -> None:
    """The labs that stand, and what of each is alive."""
    from api.lab.federation import only_one
    from api.lab.show import OUT, facts, print_facts

    must_be_output(output)
    found = [facts(each) for each in ([only_one(name)] if name else build.names())]
    if output == "json":
        OUT.print_json(data=found)
        return
    if not found:
        OUT.print("no lab stands")
    for each in found:
        print_facts(each)


@app.command()
def matrix(name: Name = "", output: Output = "table") -> None:
    """Who reaches whom, by real connections, held against the policy engine. Exit code 1 when a cell differs."""
    from api.lab.federation import must_be_root, opened
    from api.lab.reach import compared
    from api.lab.show import OUT, compare

    must_be_output(output)
    must_be_root()
    lab = opened(name)
    if output == "json":
        found = compared(lab)
        OUT.print_json(data=found.cells)
    else:
        found = compare(lab)
    raise typer.Exit(1 if found.wrong else 0)


@app.command("exec")
def run_inside(
    where: Annotated[str, typer.Argument(help="A workload or a node: dc1/shop/web, dc1/web, dc1/n1.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    name: Name = "",
) -> None:
    """Run a command in the network of a workload or a node; its exit code is ours."""
    from api.lab.federation import must_be_root, opened

    must_be_root()
    words = build.inside(netns_of(opened(name).topology, where), *command)
    sys.stdout.flush()
    os.execvp(words[0], words)


@app.command()
def down(name: Name = "") -> None:
    """Remove a lab, whatever of it stands (also after a crash)."""
    from api.lab.federation import must_be_root, only_one

    must_be_root()
    build.down(name or only_one(""))


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running.")] = False,
    name: NewName = "",
) -> None:
    """Link and police two clusters on this machine, step by step."""
    from api.lab.demo import demo as run

    run(topology(new_name(name)), keep)


def new_name(name: str) -> str:
    """The name that was asked for, or one that nobody has."""
    return name or uuid.uuid4().hex[:5]


def must_be_output(output: str) -> None:
    """Raises InvalidInput."""
    if output not in ("table", "json"):
        raise InvalidInput(f"unknown output {output!r}", hint="one of table, json")


def netns_of(lab: Topology, where: str) -> str:
    """The namespace of a workload or node by its path, the path without its namespace, or its name when only one has it.
    Raises NotFound or InvalidInput."""
    ends = [(w.path, w.netns) for w in lab.workloads] + [
        (f"{n.cluster}/{n.name}", n.netns) for n in lab.nodes
    ]
    found = dict(ends)
    if where in found:
        return found[where]
    cluster, _, last = where.rpartition("/")
    matching = [
        path
        for path in found
        if path.endswith(f"/{last}") and (not cluster or path.startswith(f"{cluster}/"))
    ]
    if not matching:
        raise NotFound(f"{where!r} is not in lab {lab.name}", hint=f"one of: {', '.join(sorted(found))}")
    if len(matching) > 1:
        raise InvalidInput(f"{where!r} is more than one", hint=f"one of: {', '.join(sorted(matching))}")
    return found[matching[0]]
