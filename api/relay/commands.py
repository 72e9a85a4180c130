"""`causeway relay`: declared, joined, run."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile, cluster_and_name
from api.cli.trust.join import must_be_safe, read_token
from api.relay import settings as kept
from federation.errors import InvalidInput
from federation.resources.codec import decode

STATE = Path("/var/lib/causeway/relay")
StateDir = Annotated[Path, typer.Option(help="Where the relay keeps its state.")]
app = typer.Typer(no_args_is_help=True, help="A cluster's relay: between its nodes and the control plane.")


@app.command()
def create(
    relay: Annotated[str, typer.Argument(help="CLUSTER/RELAY.")],
    name: Annotated[list[str], typer.Option(help="Name or address that nodes ask it by (repeatable).")],
    ttl: Annotated[int, typer.Option(help="Seconds until its join token expires.")] = 3600,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Declare a relay, and make the join token for it, shown this once."""
    cluster, own = cluster_and_name(relay, "RELAY")
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Relay",
        "metadata": {"name": own, "cluster": cluster},
        "spec": {"names": name},
    }
    decode(document)
    client = Client(server, token_file)
    client.ask("POST", "/api/v1/apply", {"items": [document]})
    body = {"cluster": cluster, "role": "relay", "node": own, "ttlSeconds": ttl}
    OUT.print(client.ask("POST", "/api/v1/jointokens", body)["token"], highlight=False)


@app.command()
def join(
    cluster: Annotated[str, typer.Option(help="Cluster that it serves.")],
    name: Annotated[str, typer.Option(help="Its name there, as it was declared.")],
    token_file: Annotated[str, typer.Option(help="File with the join token, or -; without it, the variable CAUSEWAY_JOIN_TOKEN.")] = "",
    server: Server = "",
    ca_cert_hash: Annotated[str, typer.Option(help="sha256:… of the control plane's root, as causeway serve prints it.")] = "",
    ca_file: Annotated[str, typer.Option(help="Instead of the hash: the control plane's root (PEM).")] = "",
    state_dir: StateDir = STATE,
) -> None:  # fmt: skip
    """Join; the relay's key never leaves the state directory (0600)."""
    client = Client(server, ca_hash=ca_cert_hash, ca_file=ca_file)
    if not client.server.startswith("https://"):
        raise InvalidInput("a relay needs TLS", hint="the control plane's https:// URL")
    must_be_safe(client, is_plain_allowed=False)
    from api.relay.roots import Roots
    from nodeagent.control import csr, identity

    settings = kept.RelaySettings(server=client.server, cluster=cluster, name=name, state_dir=state_dir)
    asked = {"cluster": cluster, "node": name, "role": "relay", "token": read_token(token_file)}
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = csr.request()
        kept.save(settings)
        answer = client.ask("POST", "/agent/v1/join", {**asked, "csr": made.csr})
        identity.save(state_dir, made.key, answer)
        Roots(state_dir).take(client.ask("GET", "/api/v1/ca"))
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}") from error
    OUT.print(f"relay {cluster}/{name} has joined; now run: causeway relay run --state-dir {state_dir}", highlight=False)  # fmt: skip


@app.command()
def run(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8441",
    state_dir: StateDir = STATE,
) -> None:
    """Serve the cluster's nodes."""
    from api.relay.process import run as run_process

    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise InvalidInput(f"--listen {listen!r} is not HOST:PORT", hint="like 0.0.0.0:8441")
    raise typer.Exit(run_process(kept.load(state_dir, (host, int(port)))))
