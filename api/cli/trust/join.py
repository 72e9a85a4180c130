"""`causeway join`: the node makes its key, says by its token who it is to be, and is given a certificate."""

import json
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from api.cli.client import Client
from api.cli.common import OUT, Server
from federation.errors import InvalidInput

STATE = Path("/var/lib/causeway/agent")
TOKEN_VARIABLE = "CAUSEWAY_JOIN_TOKEN"
StateDir = Annotated[Path, typer.Option(help="Where the agent keeps its state.")]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a node says of itself, and where it keeps what it is given."""

    request: dict[str, Any]
    state_dir: Path


def join(
    cluster: Annotated[str, typer.Option(help="Cluster of this node.")],
    node: Annotated[str, typer.Option(help="Name of this node in it.")],
    token_file: Annotated[str, typer.Option(help=f"File with the join token, or -; without it, the variable {TOKEN_VARIABLE}.")] = "",
    server: Server = "",
    ca_cert_hash: Annotated[str, typer.Option(help="sha256:… of the control plane's root, as causeway serve prints it.")] = "",
    ca_file: Annotated[str, typer.Option(help="Instead of the hash: the control plane's root (PEM).")] = "",
    address: Annotated[list[str] | None, typer.Option(help="Underlay address (repeatable).")] = None,
    pod_prefix: Annotated[list[str] | None, typer.Option(help="Prefix of this node's endpoints (repeatable).")] = None,
    exchange: Annotated[bool, typer.Option("--exchange", help="No token: give the credential of before TLS for a certificate.")] = False,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Send the token in the clear to another machine.")] = False,
    state_dir: StateDir = STATE,
) -> None:  # fmt: skip
    """Enrol this node; its key never leaves the state directory (0600)."""
    request = {"cluster": cluster, "node": node, "addresses": address or [], "podPrefixes": pod_prefix or []}
    client = Client(server, ca_hash=ca_cert_hash, ca_file=ca_file)
    must_be_safe(client, is_plain_allowed=insecure_http)
    wanted = Enrolment(request, state_dir)
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if exchange:
            trade(client, wanted)
        else:
            enrol(client, read_token(token_file), wanted)
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}") from error
    OUT.print(
        f"{cluster}/{node} has joined; now run: causeway agent --state-dir {state_dir}", highlight=False
    )


def must_be_safe(client: Client, *, is_plain_allowed: bool) -> None:
    """That the token goes to the control plane and to nobody else. Raises InvalidInput."""
    parts = urlsplit(client.server)
    if parts.scheme == "https":
        if not client.is_pinned:
            raise InvalidInput(
                f"{client.server} is not pinned: whoever is in between would get the token",
                hint="give --ca-cert-hash sha256:… or --ca-file, as causeway serve prints them",
            )
        return
    if not is_plain_allowed and not _is_loopback(parts.hostname or ""):
        raise InvalidInput(
            f"{client.server} is plain HTTP to another machine: the token could be read on the way",
            hint="use https:// with --ca-cert-hash; --insecure-http does it nevertheless",
        )


def read_token(token_file: str) -> str:
    """The join token, from where the list of processes does not show it. Raises InvalidInput, OSError."""
    if token_file:
        return (sys.stdin.read() if token_file == "-" else Path(token_file).read_text()).strip()
    if text := os.environ.get(TOKEN_VARIABLE, "").strip():
        return text
    raise InvalidInput(
        "there is no join token", hint=f"--token-file FILE (or -), or the variable {TOKEN_VARIABLE}"
    )


def enrol(client: Client, token: str, wanted: Enrolment) -> None:
    """Join, and keep what was given. Raises InvalidInput before the token is spent, when it can tell."""
    if client.server.startswith("http://"):
        _enrol_plainly(client, token, wanted)
        return
    from nodeagent.control import csr, identity

    made = csr.request()
    _try_to_write(wanted.state_dir)
    answer = client.ask("POST", "/agent/v1/join", {**wanted.request, "token": token, "csr": made.csr})
    identity.save(wanted.state_dir, made.key, answer)
    (wanted.state_dir / "credential").unlink(missing_ok=True)
    _write_settings(client, wanted)


def trade(client: Client, wanted: Enrolment) -> None:
    """Give the credential that stands for a certificate. Raises InvalidInput."""
    if client.server.startswith("http://"):
        raise InvalidInput("a credential is exchanged over TLS only", hint="use the https:// URL")
    from nodeagent.control import csr, identity

    credential = (wanted.state_dir / "credential").read_text().strip()
    made = csr.request()
    client.http.headers["Authorization"] = f"Bearer {credential}"
    answer = client.ask("POST", "/agent/v1/exchange", {"csr": made.csr})
    identity.save(wanted.state_dir, made.key, answer)
    (wanted.state_dir / "credential").unlink()
    _write_settings(client, wanted)


def _enrol_plainly(client: Client, token: str, wanted: Enrolment) -> None:
    fresh = wanted.state_dir / "credential.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        answer = client.ask("POST", "/agent/v1/join", {**wanted.request, "token": token})
        file.write(answer["credential"] + "\n")
    fresh.replace(wanted.state_dir / "credential")
    (wanted.state_dir / "identity.pem").unlink(missing_ok=True)
    _write_settings(client, wanted)


def _write_settings(client: Client, wanted: Enrolment) -> None:
    facts = {
        "server": client.server,
        "cluster": wanted.request["cluster"],
        "node": wanted.request["node"],
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    (wanted.state_dir / "agent.toml").write_text("\n".join(lines) + "\n")


def _try_to_write(state_dir: Path) -> None:
    probe = state_dir / "identity.pem.new"
    probe.unlink(missing_ok=True)
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    probe.unlink()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
