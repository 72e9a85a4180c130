"""How a lab is shown: progress on a terminal, tables of who reaches whom, what stands and is alive."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from api.lab import build
from api.lab.federation import Lab, opened, steps_of
from api.lab.reach import Comparison, Matrix, compared
from federation.errors import CausewayError, NotFound

OUT = Console(soft_wrap=True, highlight=False)
MARKS = {True: "[green]+[/]", False: "[red]-[/]"}
WIDE = 8
"""Workloads above which a table with a column each is too wide to read: counts by cluster are shown instead."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar that is gone at the end, on a terminal only; what is given sets the text and goes one step on."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=OUT, transient=True, disable=not OUT.is_terminal) as bar:
        task = bar.add_task(title, total=total)

        def on_step(text: str) -> None:
            bar.update(task, description=text or title, advance=1)

        yield on_step


def build_up(lab: Lab) -> None:
    """Take all steps of building a lab that is claimed, and show each."""
    steps = steps_of(lab)
    with progress("building", len(steps)) as on_step:
        for step in steps:
            on_step(step.title)
            step.take()


def ends_cleanly_when_told() -> None:
    """SIGTERM and a closed terminal end this process as Ctrl-C does: through every clean-up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))


def compare(lab: Lab) -> Comparison:
    """Measure, predict, show both as one table."""
    with progress("connecting", len(lab.topology.workloads)) as on_step:
        found = compared(lab, lambda: on_step(""))
    OUT.print(matrix_table(lab, found.measured))
    OUT.print(found.summary)
    for source, other, protocol in found.wrong[:20]:
        has = "reached" if found.measured[source, other, protocol] else "not reached"
        OUT.print(f"[red]differs[/]: {source} to {other} {protocol} is {has}")
    return found


def matrix_table(lab: Lab, measured: Matrix) -> Table:
    """From each row to each column: TCP, then UDP; in a big lab how many of a cluster are reached, by each."""
    paths = [w.path for w in lab.topology.workloads]
    is_wide = len(paths) > WIDE
    clusters = list(lab.topology.prefixes)
    table = Table(title=f"who reaches whom ({'TCP/UDP of all' if is_wide else 'TCP UDP'})", box=None)
    for column in ("from \\ to", *(clusters if is_wide else paths)):
        table.add_column(column.replace("/", "\n"))
    for source in paths:
        if is_wide:
            cells = [_count(measured, source, [p for p in paths if p.startswith(f"{c}/")]) for c in clusters]
        else:
            cells = [_mark(measured, source, other) for other in paths]
        table.add_row(source, *cells)
    return table


def _mark(measured: Matrix, source: str, other: str) -> str:
    if source == other:
        return "."
    return MARKS[measured[source, other, "TCP"]] + MARKS[measured[source, other, "UDP"]]


def _count(measured: Matrix, source: str, paths: list[str]) -> str:
    others = [path for path in paths if path != source]
    tcp, udp = (sum(measured[source, other, protocol] for other in others) for protocol in ("TCP", "UDP"))
    return f"{tcp}/{udp} of {len(others)}"


def facts(name: str) -> dict[str, Any]:
    """What of a lab stands and is alive, as `lab status -o json` says it."""
    found: dict[str, Any] = {"name": name, "namespaces": len(build.standing(name))}
    try:
        lab = opened(name)
    except NotFound as error:
        return {
            **found,
            "controlPlane": "unknown",
            "agents": {},
            "enforced": {},
            "links": [],
            "trouble": str(error),
        }
    found |= {"controlPlane": _state(lab, "server"), "url": lab.url, "tokenFile": str(lab.token_file)}
    found["agents"] = {f"{node.cluster}/{node.name}": _state(lab, node.netns) for node in lab.topology.nodes}
    return {**found, "workloads": len(lab.topology.workloads), **_intent(lab)}


def _intent(lab: Lab) -> dict[str, Any]:
    """What only the control plane knows, and why when it does not say."""
    try:
        nodes, links = (
            lab.client.ask("GET", f"/api/v1/{kind}", limit=5000)["items"] for kind in ("nodes", "links")
        )
    except CausewayError as error:
        return {"enforced": {}, "links": [], "trouble": error.message}
    enforced = {f"{n['metadata']['cluster']}/{n['metadata']['name']}": n.get("status", {}).get("enforcedRevision", 0) for n in nodes}  # fmt: skip
    return {
        "enforced": enforced,
        "links": [{"name": n["metadata"]["name"], **n["spec"]} for n in links],
        "trouble": "",
    }


def print_facts(found: dict[str, Any]) -> None:
    """The same for people."""
    OUT.print(f"[bold]{found['name']}[/]: {found['namespaces']} namespaces")
    OUT.print(f"  control plane {_coloured(found['controlPlane'])} {found.get('url', '')}".rstrip())
    for node, state in found["agents"].items():
        enforced = f", enforces revision {found['enforced'][node]}" if node in found["enforced"] else ""
        OUT.print(f"  agent {node} {_coloured(state)}{enforced}")
    for link in found["links"]:
        OUT.print(f"  link {' to '.join(link['clusters'])} {link.get('mode', '')}".rstrip())
    if found["trouble"]:
        OUT.print(f"  {found['trouble']}")


def _state(lab: Lab, process: str) -> str:
    return "running" if lab.is_alive(process) else "dead"


def _coloured(state: str) -> str:
    return f"[{'green' if state == 'running' else 'red'}]{state}[/]"
