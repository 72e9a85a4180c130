"""`causeway`: the command line. Exit codes: 0 ok, 1 refused or failed, 2 usage or invalid input, 3 control plane unreachable,
4 not enforced in time, 5 not found."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from api.cli.client import Client, RefusedError, exit_code
from api.cli.documents import load
from api.cli.simulate import simulate
from api.lab import commands as lab
from federation.errors import CausewayError
from federation.kinds.registry import kind_named
from federation.resources.codec import decode
from federation.resources.kind import Kind
from federation.resources.metadata import Scope

EPILOG = "Exit codes: 0 ok, 1 refused or failed, 2 usage or invalid input, 3 control plane unreachable, 4 not enforced in time, 5 not found."
app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, pretty_exceptions_enable=False, help="Links and polices clusters."
)
token = typer.Typer(no_args_is_help=True, help="Join tokens.")
link = typer.Typer(no_args_is_help=True, help="Links between clusters.")
app.add_typer(token, name="token")
app.add_typer(link, name="link")
app.add_typer(lab.app, name="lab")
app.command()(lab.demo)
app.command()(simulate)
OUT = Console(soft_wrap=True)

Server = Annotated[str, typer.Option(help="URL of the control plane (CAUSEWAY_SERVER).")]
TokenFile = Annotated[str, typer.Option(help="File with your API token (CAUSEWAY_TOKEN_FILE).")]
Files = Annotated[list[str], typer.Option("-f", "--filename", help="File, folder or - (repeatable).")]
Output = Annotated[str, typer.Option("-o", "--output", help="table, wide, yaml, json or name.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until every node enforces it.")]


def main() -> None:
    """The entry point: every error of ours is one message and an exit code."""
    try:
        app()
    except CausewayError as error:
        sys.stderr.write(f"causeway: {error}\n")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.stderr.write("causeway: stopped\n")
        sys.exit(130)


@app.command()
def serve(
    listen: str = "127.0.0.1:8440", data_dir: Path = Path("/var/lib/causeway/server"), database_url: str = ""
) -> None:
    """Run the control plane."""
    from api.serve import ServeSettings, run

    host, _, port = listen.rpartition(":")
    raise typer.Exit(
        run(ServeSettings(data_dir=data_dir, listen=(host, int(port)), database_url=database_url))
    )


@app.command()
def join(
    cluster: Annotated[str, typer.Option()],
    node: Annotated[str, typer.Option()],
    token_file: Annotated[str, typer.Option(help="File with the join token, or -.")],
    server: Server = "",
    address: Annotated[list[str] | None, typer.Option(help="Underlay address (repeatable).")] = None,
    pod_prefix: Annotated[
        list[str] | None, typer.Option(help="Prefix of this node's endpoints (repeatable).")
    ] = None,
    state_dir: Path = Path("/var/lib/causeway/agent"),
) -> None:
    """Enrol this node; its credential is kept in the state directory (0600)."""
    from api.cli.enrol import enrol

    request = {"cluster": cluster, "node": node, "addresses": address or [], "podPrefixes": pod_prefix or []}
    enrol(Client(server), token_file, request, state_dir)
    OUT.print(f"{cluster}/{node} has joined; now run: causeway agent --state-dir {state_dir}")


@app.command()
def agent(state_dir: Path = Path("/var/lib/causeway/agent")) -> None:
    """Run this node's agent."""
    from api.agent import run

    raise typer.Exit(run(state_dir))


@app.command()
def get(
    kind: str,
    name: str = typer.Argument(""),
    output: Output = "table",
    selector: Annotated[
        str, typer.Option("-l", "--selector", help="Causeway's selectors: app == 'web'.")
    ] = "",
    field_selector: str = "",
    cluster: str = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace")] = "",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Show resources."""
    known = kind_named(kind)
    client = Client(server, token_file)
    if name:
        items = [client.ask("GET", f"/api/v1/{known.plural}/{name}")]
    else:
        ask = {
            "labelSelector": selector,
            "fieldSelector": field_selector,
            "cluster": cluster,
            "namespace": namespace,
        }
        items = client.ask("GET", f"/api/v1/{known.plural}", **ask, limit=5000)["items"]
    show(known, items, output)


@app.command()
def apply(
    filename: Files,
    wait: Wait = False,
    timeout: float = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Create or change what files say, all or nothing."""
    client = Client(server, token_file)
    _send(client, "/api/v1/apply", load(filename), dry_run, (wait, timeout))


@app.command()
def delete(
    filename: Files, wait: Wait = False, timeout: float = 60, server: Server = "", token_file: TokenFile = ""
) -> None:
    """Delete what files say, all or nothing."""
    _send(Client(server, token_file), "/api/v1/delete", load(filename), False, (wait, timeout))


@token.command("create")
def create_token(
    cluster: Annotated[str, typer.Option()],
    ttl: int = 3600,
    uses: int = 1,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """A join token for nodes of a cluster, shown this once."""
    body = {"cluster": cluster, "ttlSeconds": ttl, "uses": uses}
    OUT.print(Client(server, token_file).ask("POST", "/api/v1/jointokens", body)["token"])


@link.command("create")
def create_link(
    one: str, other: str, mode: str = "wireguard", topology: str = "mesh", wait: Wait = False, timeout: float = 60, server: Server = "", token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Join two clusters."""
    spec = {"clusters": [one, other], "mode": mode, "topology": topology}
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Link",
        "metadata": {"name": f"{one}-{other}"},
        "spec": spec,
    }
    decode(document)
    _send(Client(server, token_file), "/api/v1/apply", [document], False, (wait, timeout))


@app.command()
def version() -> None:
    """The version."""
    from importlib.metadata import version as installed

    OUT.print(f"causeway {installed('causeway')}")


def show(kind: Kind, items: list[dict[str, Any]], output: str) -> None:
    """Print resources in one of the output formats."""
    resources = [decode(item, is_trusted=True) for item in items]
    match output:
        case "json":
            sys.stdout.write(
                json.dumps(items[0] if len(items) == 1 else {"kind": "List", "items": items}, indent=1) + "\n"
            )
        case "yaml":
            sys.stdout.write(yaml.safe_dump_all(items, sort_keys=False))
        case "name":
            sys.stdout.write("".join(f"{kind.plural}/{resource.key.path}\n" for resource in resources))
        case "table" | "wide":
            columns = [c for c in kind.columns if output == "wide" or not c.wide]
            table = Table(box=None, pad_edge=False)
            names = {
                Scope.FEDERATION: ["NAME"],
                Scope.CLUSTER: ["CLUSTER", "NAME"],
                Scope.NAMESPACE: ["CLUSTER", "NAMESPACE", "NAME"],
            }
            for title in (*names[kind.scope], *(c.title for c in columns)):
                table.add_column(title)
            for resource in resources:
                table.add_row(*resource.key.path.split("/"), *(c.value(resource) for c in columns))
            OUT.print(table)
        case _:
            raise RefusedError(
                "invalid", f"unknown output {output!r}", "one of table, wide, yaml, json, name", []
            )


def _send(
    client: Client, path: str, items: list[dict[str, Any]], is_dry: bool, wait: tuple[bool, float]
) -> None:
    answer = client.ask("POST", path, {"items": items}, dryRun="true" if is_dry else "")
    for outcome in answer["outcomes"]:
        OUT.print(f"{outcome['kind']} {outcome['path']} {outcome['result']}{' (dry run)' if is_dry else ''}")
    if wait[0] and not is_dry:
        _await_rollout(client, answer["revision"], wait[1])


def _await_rollout(client: Client, revision: int, timeout: float) -> None:
    left = timeout
    while True:
        found = client.ask("GET", f"/api/v1/rollouts/{revision}", wait=min(left, 20))
        left -= 20
        if found["complete"] or left <= 0:
            break
    total = len(found["enforced"]) + len(found["behind"])
    OUT.print(
        f"revision {revision} enforced on {len(found['enforced'])} of {total} nodes in {found['milliseconds']:.0f} ms"
    )
    if not found["complete"]:
        behind = "\n".join(f"  {entry['node']}: {entry['why']}" for entry in found["behind"])
        raise RefusedError(
            "not-enforced",
            f"not enforced everywhere after {timeout:g} s:\n{behind}",
            "see: causeway get nodes",
            [],
        )


if __name__ == "__main__":
    main()
