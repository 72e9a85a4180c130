"""`causeway policy`: expectations beside policies, tested without a server."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import typer
import yaml

from api.cli.common import OUT, literal
from api.cli.documents import documents
from api.cli.simulate import Cluster
from federation.errors import Fault, InvalidInput, shown
from federation.resources.grammar import escaped
from federation.simulation.convert import VERSIONS, convert
from federation.simulation.lint import findings
from federation.simulation.probes import Judge
from federation.simulation.reading import read
from federation.simulation.to_kubernetes import to_kubernetes
from federation.simulation.words import reasons

UNFIT_FOR_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
app = typer.Typer(no_args_is_help=True, help="Policies as code: test them.")


@app.callback()
def policy() -> None:
    """Policies as code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One expectation and what became of it; `failure` is empty when it held, `error` says why it could not be judged."""

    name: str
    source: str
    failure: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether it held."""
        return not self.failure and not self.error


@app.command("test")
def check_expectations(
    files: Annotated[list[str], typer.Argument(help="Files and folders: policies, what stands, and documents with `tests:`.")],
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.")] = None,
    cluster: Cluster = "",
) -> None:  # fmt: skip
    """Judge every `tests: [{from, to, port, expect}]` beside the policies. Exit code 1 when one does not hold."""
    expectations: list[tuple[str, Mapping[str, Any]]] = []
    others: list[tuple[str, Any]] = []
    faults: list[Fault] = []
    for source, document in documents(files):
        if isinstance(document, Mapping) and "tests" in document and "kind" not in document:
            expectations += _expectations(source, document, faults)
        else:
            others.append((source, document))
    if faults:
        raise InvalidInput(f"{len(faults)} fault(s) in the tests; nothing was judged", faults=faults)
    if not expectations:
        raise InvalidInput(
            "there are no tests",
            hint="write a document `tests: [{from: a/b, to: c/d, port: 80, expect: Allow}]`",
        )
    judge = Judge(read(others, cluster))
    outcomes = [_judged(judge, source, expectation) for source, expectation in expectations]
    for outcome in outcomes:
        if not outcome.is_good:
            said = f"{outcome.name}\n     {outcome.failure or outcome.error} ({outcome.source})"
            OUT.print(f"[red]FAIL[/] {literal(said)}", highlight=False)
    bad = sum(not outcome.is_good for outcome in outcomes)
    OUT.print(f"{len(outcomes) - bad} of {len(outcomes)} expectations hold", highlight=False)
    if junit is not None:
        try:
            junit.write_bytes(junit_of(outcomes))
        except OSError as error:
            raise InvalidInput(f"{junit}: {error.strerror}") from error
    raise typer.Exit(1 if bad else 0)


@app.command()
def lint(
    files: Annotated[list[str], typer.Argument(help="Files and folders: policies, and what stands.")],
    output: Annotated[str, typer.Option("-o", "--output", help="table or json.")] = "table",
    cluster: Cluster = "",
) -> None:
    """Shadowed rules, selectors that match nothing, hosts selected by accident, tiers that are never reached: each with its
    witness. Exit code 1 when there is a finding."""
    if output not in ("table", "json"):
        raise InvalidInput(f"unknown output {output!r}", hint="one of table, json")
    found = findings(Judge(read(documents(files), cluster)).engine)
    if output == "json":
        OUT.print_json(data=[{**asdict(f), "policy": str(f.policy) if f.policy else None} for f in found])
    else:
        for f in found:
            where = f"{f.policy} {f.pointer}" if f.policy else f.pointer
            OUT.print(
                f"{f.check}: {where}: {f.message}\n    witness: {f.witness}", highlight=False, markup=False
            )
        OUT.print(f"{len(found)} finding(s)", highlight=False)
    raise typer.Exit(1 if found else 0)


@app.command("convert")
def convert_policies(
    files: Annotated[list[str], typer.Argument(help="Files and folders with policies.")],
    to: Annotated[str, typer.Option(help="causeway, calico or kubernetes.")] = "causeway",
    cluster: Cluster = "",
) -> None:
    """Policies as YAML of another world, on standard output; what cannot be said there on standard error. Exit code 1 when
    something cannot."""
    if to not in (*VERSIONS, "kubernetes"):
        raise InvalidInput(f"cannot convert to {to!r}", hint=f"one of {', '.join(VERSIONS)}, kubernetes")
    world = read(documents(files), cluster).world
    converted, unsaid = to_kubernetes(world) if to == "kubernetes" else convert(world.policies, to)
    sys.stdout.write(yaml.safe_dump_all(converted, sort_keys=False))
    for each in unsaid:
        sys.stderr.write(f"causeway: {each.policy} {each.pointer}: {each.why}\n")
    raise typer.Exit(1 if unsaid else 0)


def _expectations(
    source: str, document: Mapping[str, Any], faults: list[Fault]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tests of a document, each with its place; what is none is added to the faults."""
    faults += [
        Fault(f"{source}: /{escaped(name)}", "unknown field; a document of tests has one, tests")
        for name in document
        if name != "tests"
    ]
    listed = document["tests"]
    if not isinstance(listed, list):
        faults.append(Fault(f"{source}: /tests", f"a list is needed, not {shown(listed)}"))
        return
    for index, each in enumerate(listed):
        at = f"{source}: /tests/{index}"
        if not isinstance(each, Mapping):
            faults.append(Fault(at, f"an object is needed, not {shown(each)}"))
        elif each.get("expect") not in ("Allow", "Deny"):
            said = (
                f"{shown(each['expect'])} is neither Allow nor Deny"
                if "expect" in each
                else "is needed, Allow or Deny"
            )
            faults.append(Fault(f"{at}/expect", said))
        else:
            yield f"{source}, test {index}", each


def _judged(judge: Judge, source: str, expectation: Mapping[str, Any]) -> Outcome:
    port = f":{expectation['port']}" if "port" in expectation else ""
    protocol = expectation.get("protocol", "TCP")
    name = str(expectation.get("name") or f"{expectation.get('from')} to {expectation.get('to')}{port} {protocol}: {expectation['expect']}")  # fmt: skip
    began = time.perf_counter()
    try:
        answer = judge.answer({k: v for k, v in expectation.items() if k not in ("expect", "name")})
    except InvalidInput as error:
        return Outcome(name=name, source=source, error=error.message)
    seconds = time.perf_counter() - began
    if answer["verdict"] == expectation["expect"]:
        return Outcome(name=name, source=source, seconds=seconds)
    egress, ingress = reasons(answer)
    said = f"it is {answer['verdict']}: egress {egress}; ingress {ingress}"
    return Outcome(name=name, source=source, failure=said, seconds=seconds)


def junit_of(outcomes: list[Outcome]) -> bytes:
    """JUnit's XML, as CI systems read it."""
    suite = ElementTree.Element(
        "testsuite", name="causeway policy test", tests=str(len(outcomes)),
        failures=str(sum(bool(o.failure) for o in outcomes)), errors=str(sum(bool(o.error) for o in outcomes)),
    )  # fmt: skip
    for outcome in outcomes:
        name, source = _fit_for_xml(outcome.name), _fit_for_xml(outcome.source)
        case = ElementTree.SubElement(
            suite, "testcase", name=name, classname=source, time=f"{outcome.seconds:.6f}"
        )
        for tag, text in (("failure", outcome.failure), ("error", outcome.error)):
            if text:
                ElementTree.SubElement(case, tag, message=_fit_for_xml(text))
    found: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return found


def _fit_for_xml(text: str) -> str:
    """XML has no place for most control characters, not even escaped: they are written as Python would."""
    return UNFIT_FOR_XML.sub(lambda found: ascii(found.group())[1:-1], text)
