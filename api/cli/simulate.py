"""`causeway simulate`: verdicts offline, for a user's own documents."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api.cli.common import literal
from api.cli.documents import documents
from api.input.files import Text, lines
from api.input.json_text import JsonError, json_document
from federation.errors import InvalidInput
from federation.simulation.picture import html
from federation.simulation.probes import Judge
from federation.simulation.reading import Simulation, read
from federation.simulation.words import reasons

Files = Annotated[list[str], typer.Option("-f", "--filename", help="File, folder or - (repeatable).")]
Cluster = Annotated[
    str,
    typer.Option(
        help="Cluster of objects, and of Kubernetes' and Cilium's policies, without the label causeway.dev/cluster; without it, such policies are for every cluster."
    ),
]
FORMATS = ("table", "json", "jsonl", "html")


@dataclass(slots=True)
class Count:
    """Counts answers as they pass."""

    all: int = 0
    errors: int = 0

    def of(self, found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same answers."""
        for answer in found:
            self.all += 1
            self.errors += "error" in answer
            yield answer


def simulate(
    filename: Files,
    probes: Annotated[str, typer.Option(help="File of probes, one JSON object a line, or -.")] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="table, json, jsonl, or html (pictures of --all-pairs).")] = "",
    trace: Annotated[bool, typer.Option("--trace", help="With every tier, policy and rule looked at.")] = False,
    staged: Annotated[bool, typer.Option("--staged", help="Also what would be, were staged policies enforced.")] = False,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every workload to every other.")] = False,
    port: Annotated[str, typer.Option(help="Port of --all-pairs: number or name.")] = "80",
    protocol: Annotated[str, typer.Option(help="Protocol of --all-pairs.")] = "TCP",
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when a probe cannot be answered.")] = False,
    cluster: Cluster = "",
) -> None:  # fmt: skip
    """Judge probes by policies of Calico, Kubernetes, Cilium and Causeway, without a server.

    A probe: {"from": "shop/web", "to": "pay/db", "port": 5432, "protocol": "TCP"}. Ends: namespace/pod, host:node, an address.
    """
    if output and output not in FORMATS:
        raise InvalidInput(f"unknown output {output!r}", hint=f"one of {', '.join(FORMATS)}")
    if bool(probes) is all_pairs:
        raise InvalidInput("what is to be judged?", hint="either --probes FILE or --all-pairs")
    if [*filename, probes].count("-") > 1:
        raise InvalidInput(
            "standard input can be read once", hint="give the documents or the probes as a file"
        )
    judge = Judge(loaded(filename, cluster), has_staged=staged)
    if all_pairs:
        show_matrix(judge, matrix(judge, port, protocol), output or "table")
        return
    count = Count()
    show_answers(count.of(answers(judge, lines(probes), has_trace=trace)), output or "jsonl")
    if count.errors:
        sys.stderr.write(f"causeway: {count.errors} of {count.all} probes could not be answered\n")
        raise typer.Exit(1 if strict else 0)


def loaded(filename: list[str], cluster: str) -> Simulation:
    """The simulation of what files say; what was passed over is told on standard error. Raises InvalidInput."""
    simulation = read(documents(filename), cluster)
    if simulation.passed_over:
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(simulation.passed_over.items()))
        sys.stderr.write(f"causeway: passed over (they say nothing to policy): {said}\n")
    return simulation


def answers(judge: Judge, given: Iterable[Text], *, has_trace: bool) -> Iterator[dict[str, Any]]:
    """One answer per line that is not blank; a line that cannot be answered is an error of that line, with its number."""
    for line in given:
        if line.fault or line.text.strip():
            yield _answer(judge, line, has_trace=has_trace)


def _answer(judge: Judge, line: Text, *, has_trace: bool) -> dict[str, Any]:
    echo: dict[str, Any] = {}
    try:
        if line.fault:
            raise InvalidInput(line.fault)
        probe, faults = json_document(line.text.strip())
        if faults:
            raise InvalidInput("; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults))
        echo = probe if isinstance(probe, dict) else {}
        return judge.answer(probe, has_trace=has_trace)
    except (JsonError, InvalidInput) as error:
        return {
            **echo,
            "line": int(line.source.removeprefix("line ")),
            "error": str(error).replace("line 1, ", "", 1),
        }


Matrix = dict[tuple[str, str], dict[str, Any]]


def matrix(judge: Judge, port: str, protocol: str) -> Matrix:
    """The answer of every pair of workloads. Raises InvalidInput when none has any."""
    ends = judge.ends()
    found: Matrix = {}
    for source in ends:
        for destination in ends:
            probe = {"from": source, "to": destination, "port": port, "protocol": protocol}
            try:
                found[source, destination] = judge.answer(probe)
            except InvalidInput as error:
                found[source, destination] = {**probe, "error": error.message}
    if found and all("error" in answer for answer in found.values()):
        raise InvalidInput(
            next(iter(found.values()))["error"], hint="no pair can be judged by this port and protocol"
        )
    return found


def show_answers(found: Iterable[dict[str, Any]], output: str) -> None:
    """Print answers in their order."""
    if output == "jsonl":
        for answer in found:
            sys.stdout.write(json.dumps(answer) + "\n")
        return
    if output == "json":
        sys.stdout.write(json.dumps(list(found), indent=1) + "\n")
        return
    if output == "html":
        raise InvalidInput("html is the picture of --all-pairs")
    table = Table(box=None, pad_edge=False)
    answers = list(found)
    has_staged = any("staged" in answer for answer in answers)
    titles = (
        "FROM",
        "TO",
        "PORT",
        "PROTOCOL",
        "VERDICT",
        "EGRESS",
        "INGRESS",
        *(("STAGED",) if has_staged else ()),
    )
    for title in titles:
        table.add_column(title)
    for answer in answers:
        cells = [literal(str(answer.get(name, ""))) for name in ("from", "to", "port", "protocol")]
        if "error" in answer:
            table.add_row(*cells, "[yellow]error[/]", literal(answer["error"]))
            continue
        colour = "green" if answer["verdict"] == "Allow" else "red"
        table.add_row(
            *cells, f"[{colour}]{answer['verdict']}[/]", *map(literal, reasons(answer)), *_staged(answer)
        )
    Console(soft_wrap=True).print(table)


def _staged(answer: dict[str, Any]) -> list[str]:
    staged = answer.get("staged")
    if staged is None:
        return []
    is_same = staged["verdict"] == answer["verdict"]
    return ["the same" if is_same else f"[bold]{staged['verdict']}[/]: {literal('; '.join(reasons(staged)))}"]


def show_matrix(judge: Judge, found: Matrix, output: str) -> None:
    """Print the matrix of all pairs."""
    if output in ("json", "jsonl"):
        show_answers(found.values(), output)
        return
    ends = judge.ends()
    if output == "html":
        sys.stdout.write(html(ends, found))
        return
    table = Table(title="who reaches whom", box=None)
    for column in ("from \\ to", *ends):
        table.add_column(column.replace("/", "\n"))
    marks = {"Allow": "[green]+[/]", "Deny": "[red]-[/]", None: "[yellow]?[/]"}
    for source in ends:
        table.add_row(source, *(marks[found[source, to].get("verdict")] for to in ends))
    Console(soft_wrap=True).print(table)
