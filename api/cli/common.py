"""What the commands share: their options, the console, the client, names of objects, completion."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from api.cli.client import Client, RefusedError, harmless
from federation.errors import CausewayError, InvalidInput
from federation.kinds.registry import KINDS, kind_named
from federation.resources.kind import Kind
from federation.resources.metadata import NO_CLUSTER, Scope

OUT = Console(soft_wrap=True)
"""Colours only on a terminal, and never with NO_COLOR."""


def literal(text: str) -> str:
    """A user's text as it is, to be printed among markup: no markup of its own, nothing that a terminal would obey."""
    return escape(harmless(text))


def complete_kind(incomplete: str) -> list[str]:
    """Names of kinds."""
    names = [name for kind in KINDS for name in (kind.plural, *kind.short_names)]
    return [name for name in names if name.startswith(incomplete.lower())]


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Names of objects of the kind that was typed; silent when the control plane does not answer."""
    try:
        kind = kind_named(str(context.params.get("kind", "")))
        items = Client(timeout=1.5).ask("GET", f"/api/v1/{kind.plural}", limit=500)["items"]
    except CausewayError:
        return []
    return [path for path in (path_of(kind, item) for item in items) if path.startswith(incomplete)]


Server = Annotated[str, typer.Option(help="URL of the control plane (CAUSEWAY_SERVER).")]
TokenFile = Annotated[str, typer.Option(help="File with your API token (CAUSEWAY_TOKEN_FILE).")]
Files = Annotated[list[str] | None, typer.Option("-f", "--filename", help="File, folder or - (repeatable).")]
Output = Annotated[str, typer.Option("-o", "--output", help="table, wide, yaml, json or name.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until every node enforces it.")]
Timeout = Annotated[float, typer.Option(help="Seconds that --wait may take.")]
ClusterOption = Annotated[str, typer.Option(help="Cluster of the object.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the object.")]
KindArgument = Annotated[
    str, typer.Argument(help="Kind, plural or short name.", autocompletion=complete_kind)
]
NameArgument = Annotated[str, typer.Argument(help="Name, or cluster/namespace/name.", autocompletion=complete_name)]  # fmt: skip


def cluster_and_name(text: str, what: str) -> tuple[str, str]:
    """The two parts of CLUSTER/NAME. Raises InvalidInput."""
    cluster, _, name = text.partition("/")
    if not cluster or not name:
        raise InvalidInput(f"{text!r} is not CLUSTER/{what}")
    return cluster, name


def path_of(kind: Kind, item: dict[str, Any]) -> str:
    """The path of a document, as in URLs."""
    meta = item.get("metadata", {})
    parts = {
        Scope.FEDERATION: ("name",),
        Scope.CLUSTER: ("cluster", "name"),
        Scope.NAMESPACE: ("cluster", "namespace", "name"),
    }[kind.scope]
    return "/".join(str(meta.get(part, "") or NO_CLUSTER) for part in parts)


def path_from(kind: Kind, name: str, cluster: str, namespace: str) -> str:
    """The path that a name means, with what flags fill in. Raises InvalidInput that says what is missing."""
    parts = name.split("/")
    wanted = {Scope.FEDERATION: 1, Scope.CLUSTER: 2, Scope.NAMESPACE: 3}[kind.scope]
    if len(parts) == wanted:
        return name
    if len(parts) == 1 and kind.scope is Scope.CLUSTER and (cluster or kind.is_cluster_optional):
        return f"{cluster or NO_CLUSTER}/{name}"
    is_reachable = kind.scope is Scope.NAMESPACE and (cluster or kind.is_cluster_optional)
    if is_reachable and len(parts) == 2:
        return f"{cluster or NO_CLUSTER}/{name}"
    if is_reachable and len(parts) == 1 and namespace:
        return f"{cluster or NO_CLUSTER}/{namespace}/{name}"
    form = {1: "NAME", 2: "CLUSTER/NAME (or --cluster)", 3: "CLUSTER/NAMESPACE/NAME (or --cluster and -n)"}
    raise InvalidInput(f"{name!r} does not name one {kind.name}", hint=f"write {form[wanted]}")


def send(client: Client, path: str, items: Iterable[dict[str, Any]], *, is_dry: bool = False) -> int:
    """Send a bulk and tell what became of each document; the revision."""
    answer = client.ask("POST", path, {"items": list(items)}, dryRun="true" if is_dry else "")
    for outcome in answer["outcomes"]:
        OUT.print(f"{outcome['kind']} {outcome['path']} {outcome['result']}{' (dry run)' if is_dry else ''}")
    return int(answer["revision"])


def await_rollout(client: Client, revision: int, timeout: float) -> None:
    """Wait for every node, with a line of progress on a terminal. Raises RefusedError that says who is behind."""
    left, step = timeout, 2.0
    with OUT.status(f"revision {revision}: waiting for the nodes") as line:
        while True:
            found = client.ask("GET", f"/api/v1/rollouts/{revision}", wait=min(left, step))
            left -= step
            total = len(found["enforced"]) + len(found["behind"])
            line.update(f"revision {revision}: enforced on {len(found['enforced'])} of {total} nodes")
            if found["complete"] or left <= 0:
                break
    OUT.print(
        f"revision {revision} enforced on {len(found['enforced'])} of {total} nodes in {found['milliseconds']:.0f} ms"
    )
    if not found["complete"]:
        behind = "\n".join(f"  {entry['node']}: {entry['why']}" for entry in found["behind"])
        message = f"not enforced everywhere after {timeout:g} s:\n{behind}"
        raise RefusedError(
            "not-enforced", message, "see: causeway get nodes; causeway agent status on the node", []
        )
