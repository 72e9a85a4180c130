"""Commands that read: get, describe, diff."""

import difflib
import json
import sys
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from api.cli.client import Client, RefusedError
from api.cli.common import (  # fmt: skip
    OUT,
    ClusterOption,
    Files,
    KindArgument,
    NameArgument,
    Namespace,
    Output,
    Server,
    TokenFile,
    path_from,
    path_of,
)
from api.cli.datapath.rules import show_rules
from api.cli.documents import load
from federation.doors.documents import POLICY_KINDS
from federation.errors import InvalidInput
from federation.kinds.registry import BY_NAME, kind_named
from federation.resources.codec import decode, encode
from federation.resources.kind import Kind
from federation.resources.metadata import Scope
from federation.selectors import parse

OUTPUTS = ("table", "wide", "yaml", "json", "name")
NAMES = {
    Scope.FEDERATION: ("NAME",),
    Scope.CLUSTER: ("CLUSTER", "NAME"),
    Scope.NAMESPACE: ("CLUSTER", "NAMESPACE", "NAME"),
}


def get(
    kind: KindArgument,
    name: NameArgument = "",
    output: Output = "table",
    selector: Annotated[str, typer.Option("-l", "--selector", help="Labels: app == 'web'.")] = "",
    field_selector: Annotated[str, typer.Option(help="Fields: spec.node=n1,metadata.name!=x.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on showing what changes.")] = False,
    cluster: ClusterOption = "",
    namespace: Namespace = "",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Show resources."""
    known = kind_named(kind)
    if output not in OUTPUTS:
        raise InvalidInput(f"unknown output {output!r}", hint=f"one of {', '.join(OUTPUTS)}")
    client = Client(server, token_file)
    asked = {
        "labelSelector": selector,
        "fieldSelector": field_selector,
        "cluster": cluster,
        "namespace": namespace,
    }
    if watch:
        _watch(client, known, output, asked, name)
        return
    if name:
        path = path_from(known, name, cluster, namespace)
        item = client.ask("GET", f"/api/v1/{known.plural}/{path}")
        show(known, [item], output, is_one=True)
        if output == "wide" and known.name in POLICY_KINDS:
            show_rules(client, known, item)
        return
    items = client.all(f"/api/v1/{known.plural}", **asked)
    if not items and output in ("table", "wide"):
        sys.stderr.write(f"no {known.plural}\n")
        return
    show(known, items, output)


def describe(
    kind: KindArgument, name: NameArgument, cluster: ClusterOption = "", namespace: Namespace = "", server: Server = "", token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Everything about one object: names, spec, conditions, and how far its last change has come."""
    known = kind_named(kind)
    client = Client(server, token_file)
    item = client.ask("GET", f"/api/v1/{known.plural}/{path_from(known, name, cluster, namespace)}")
    meta = item["metadata"]
    OUT.print(f"[bold]{known.name} {path_of(known, item)}[/]", highlight=False)
    for label, value in (
        ("Revision", meta.get("revision", 0)),
        ("Generation", meta.get("generation", 0)),
        ("Created", meta.get("created", "")),
        ("Labels", ", ".join(f"{k}={v}" for k, v in sorted(meta.get("labels", {}).items())) or "none"),
    ):
        OUT.print(f"{label + ':':<12} {value}", highlight=False, markup=False)
    for part in ("spec", "status"):
        body = {key: value for key, value in item.get(part, {}).items() if key != "conditions"}
        if body:
            OUT.print(f"{part.title()}:", highlight=False)
            text = yaml.safe_dump(body, sort_keys=False, indent=2).rstrip()
            OUT.print("\n".join(f"  {line}" for line in text.splitlines()), highlight=False, markup=False)
    for condition in item.get("status", {}).get("conditions", ()):
        OUT.print(
            f"Condition {condition['type']}: {condition['status']} {condition.get('message', '')}",
            markup=False,
        )
    if revision := meta.get("revision"):
        rollout = client.ask("GET", f"/api/v1/rollouts/{revision}")
        total = len(rollout["enforced"]) + len(rollout["behind"])
        OUT.print(f"Enforced:    on {len(rollout['enforced'])} of {total} nodes", highlight=False)
        for behind in rollout["behind"]:
            OUT.print(f"  behind: {behind['node']}: {behind['why']}", highlight=False, markup=False)


def diff(filename: Files = None, server: Server = "", token_file: TokenFile = "") -> None:
    """What apply would change, line by line. Exit code 1 when something would."""
    client = Client(server, token_file)
    has_difference = False
    for document in load(filename or []):
        wanted = decode(document)
        kind = BY_NAME[wanted.kind]
        try:
            standing = client.ask("GET", f"/api/v1/{kind.plural}/{wanted.key.path}")
        except RefusedError as error:
            if error.reason != "not-found":
                raise
            standing = {}
        lines = list(
            difflib.unified_diff(
                _comparable(standing), _comparable(encode(wanted)), "stands", str(wanted.key), lineterm=""
            )
        )
        has_difference = has_difference or bool(lines)
        for line in lines:
            colour = "green" if line.startswith("+") else "red" if line.startswith("-") else ""
            OUT.print(line, style=colour or None, markup=False, highlight=False)
    raise typer.Exit(1 if has_difference else 0)


def _comparable(document: dict[str, Any]) -> list[str]:
    if not document:
        return []
    meta = {
        key: document["metadata"][key] for key in ("labels", "annotations") if document["metadata"].get(key)
    }
    body = {"metadata": meta, "spec": document.get("spec", {})}
    return yaml.safe_dump(body, sort_keys=True).splitlines()


def show(kind: Kind, items: list[dict[str, Any]], output: str, *, is_one: bool = False) -> None:
    """Print resources in one of the output formats."""
    if output == "json":
        whole: Any = items[0] if is_one else {"kind": "List", "items": items}
        sys.stdout.write(json.dumps(whole, indent=1) + "\n")
    elif output == "yaml":
        sys.stdout.write(yaml.safe_dump_all(items, sort_keys=False))
    elif output == "name":
        sys.stdout.write("".join(f"{kind.plural}/{path_of(kind, item)}\n" for item in items))
    else:
        table = Table(box=None, pad_edge=False)
        for title in titles(kind, output):
            table.add_column(title)
        for item in items:
            table.add_row(*row(kind, item, output))
        OUT.print(table)


def titles(kind: Kind, output: str) -> list[str]:
    """Column titles of a kind's table."""
    return [*NAMES[kind.scope], *(c.title for c in kind.columns if output == "wide" or not c.wide)]


def row(kind: Kind, item: dict[str, Any], output: str) -> list[str]:
    """One line of a kind's table."""
    resource = decode(item, is_trusted=True)
    columns = [c for c in kind.columns if output == "wide" or not c.wide]
    return [*path_of(kind, item).split("/"), *(c.value(resource) for c in columns)]


def _watch(client: Client, kind: Kind, output: str, asked: dict[str, str], name: str) -> None:
    """Print each event as it comes; Ctrl-C ends it. What does not match is left out."""
    selector = parse(asked["labelSelector"])
    widths = [max(len(title) + 2, 12) for title in titles(kind, output)]
    if output in ("table", "wide"):
        _print_row("EVENT", titles(kind, output), widths)
    for event in client.events(f"/api/v1/{kind.plural}"):
        item = event.get("object") or {}
        meta = item.get("metadata", {})
        is_asked = event["type"] != "BOOKMARK" and selector.matches(meta.get("labels", {}))
        is_near = all(
            not asked[part] or meta.get(part, "") == asked[part] for part in ("cluster", "namespace")
        )
        if not is_asked or not is_near or (name and name not in (meta.get("name"), path_of(kind, item))):
            continue
        if output == "json":
            sys.stdout.write(json.dumps(event) + "\n")
        elif output == "yaml":
            sys.stdout.write(yaml.safe_dump({"type": event["type"], "object": item}, explicit_start=True))
        elif output == "name":
            sys.stdout.write(f"{event['type']} {kind.plural}/{path_of(kind, item)}\n")
        else:
            _print_row(event["type"], row(kind, item, output), widths)
        sys.stdout.flush()


def _print_row(event: str, cells: list[str], widths: list[int]) -> None:
    padded = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    sys.stdout.write(f"{event:<10}{padded.rstrip()}\n")
