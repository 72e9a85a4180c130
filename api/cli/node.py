"""Commands of a node and of a server: serve, join, agent, version."""

import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer

from api import node_process
from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile
from federation.errors import CausewayError, InvalidInput

StateDir = Annotated[Path, typer.Option(help="Where the agent keeps its state.")]
STATE = Path("/var/lib/causeway/agent")
agent = typer.Typer(invoke_without_command=True, help="This node's agent: run it, ask it.")


def serve(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8440",
    data_dir: Annotated[Path, typer.Option(help="SQLite file and admin token.")] = Path("/var/lib/causeway/server"),
    database_url: Annotated[str, typer.Option(envvar="CAUSEWAY_DATABASE_URL", help="postgresql://… or sqlite:FILE; empty: SQLite in the data directory.")] = "",
) -> None:  # fmt: skip
    """Run the control plane."""
    from api.serve import ServeSettings, run

    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise InvalidInput(
            f"--listen {listen!r} is not HOST:PORT", hint="like 127.0.0.1:8440 or 0.0.0.0:8440"
        )
    settings = ServeSettings(data_dir=data_dir, listen=(host, int(port)), database_url=database_url)
    raise typer.Exit(run(settings))


def join(
    cluster: Annotated[str, typer.Option(help="Cluster of this node.")],
    node: Annotated[str, typer.Option(help="Name of this node in it.")],
    token_file: Annotated[str, typer.Option(help="File with the join token, or -.")],
    server: Server = "",
    address: Annotated[list[str] | None, typer.Option(help="Underlay address (repeatable).")] = None,
    pod_prefix: Annotated[list[str] | None, typer.Option(help="Prefix of this node's endpoints (repeatable).")] = None,
    state_dir: StateDir = STATE,
) -> None:  # fmt: skip
    """Enrol this node; its credential is kept in the state directory (0600)."""
    request = {"cluster": cluster, "node": node, "addresses": address or [], "podPrefixes": pod_prefix or []}
    enrol(Client(server), token_file, request, state_dir)
    OUT.print(
        f"{cluster}/{node} has joined; now run: causeway agent --state-dir {state_dir}", highlight=False
    )


def enrol(client: Client, token_file: str, request: dict[str, Any], state_dir: Path) -> None:
    """Join and write `credential` (0600) and `agent.toml`. Raises InvalidInput before the token is spent, when it can tell."""
    try:
        text = sys.stdin.read() if token_file == "-" else Path(token_file).read_text()
        state_dir.mkdir(parents=True, exist_ok=True)
        fresh = state_dir / "credential.new"
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            answer = client.ask("POST", "/agent/v1/join", {**request, "token": text.strip()})
            file.write(answer["credential"] + "\n")
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}") from error
    fresh.replace(state_dir / "credential")
    facts = {"server": client.server, "cluster": request["cluster"], "node": request["node"]}
    lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    (state_dir / "agent.toml").write_text("\n".join(lines) + "\n")


@agent.callback()
def run_agent(
    context: typer.Context,
    state_dir: StateDir = STATE,
    metrics: Annotated[str, typer.Option(help="ADDRESS:PORT where Prometheus is answered.")] = "",
) -> None:
    """Run this node's agent."""
    context.obj = state_dir
    if context.invoked_subcommand is None:
        words = node_process.command(state_dir, metrics)
        os.execv(words[0], words)


@agent.command("status")
def agent_status(
    context: typer.Context,
    state_dir: Annotated[Path | None, typer.Option(help="Where the agent keeps its state.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="text or json.")] = "text",
) -> None:
    """What this node's agent enforces, what is wrong, and whether the control plane is there."""
    from nodeagent.status import load_status

    status = asdict(load_status(state_dir or context.obj))
    if output == "json":
        sys.stdout.write(json.dumps(status, indent=1, default=str) + "\n")
    else:
        faults = status.pop("faults")
        for key, value in status.items():
            OUT.print(f"{key.replace('_', ' ') + ':':<20} {value}", highlight=False, markup=False)
        OUT.print(f"{'faults:':<20} {len(faults) or 'none'}", highlight=False)
        for fault in faults:
            OUT.print("  " + ": ".join(fault), highlight=False, markup=False)
        status["faults"] = faults
    raise typer.Exit(1 if status["faults"] else 0)


def version(
    output: Annotated[str, typer.Option("-o", "--output", help="text or json.")] = "text",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """The version here, and of the control plane if it answers."""
    found = {"client": installed("causeway"), "server": "not reached"}
    try:
        found["server"] = Client(server, token_file, timeout=2).ask("GET", "/api/v1/version")["version"]
    except CausewayError:
        found["server"] = "not reached"
    if output == "json":
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        OUT.print(f"causeway {found['client']}\ncontrol plane: {found['server']}", highlight=False)
