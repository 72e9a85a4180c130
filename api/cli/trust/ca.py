"""`causeway ca`: the certificate authority: shown, rotated, replaced by a customer's; nodes revoked."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile, cluster_and_name
from federation.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="The certificate authority of nodes and servers.")


@app.command()
def show(
    output: Annotated[str, typer.Option("-o", "--output", help="table or json.")] = "table",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """The authorities, and which nodes depend on which."""
    found = Client(server, token_file).ask("GET", "/api/v1/ca/status")
    if output == "json":
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    authorities = Table("AUTHORITY", "STATE", "HASH", "EXPIRES", "NODES", box=None, pad_edge=False)
    for item in found["items"]:
        count = sum(1 for node in found["nodes"] if node["authority"] == item["id"])
        authorities.add_row(item["id"], item["state"], item["hash"], item["expires"], str(count))
    OUT.print(authorities)
    behind = Table("NODE", "AUTHORITY", "EXPIRES", "TRUSTS TODAY'S", box=None, pad_edge=False)
    for node in found["nodes"]:
        behind.add_row(
            node["node"], node["authority"] or "none", node["expires"], "yes" if node["trusts"] else "no"
        )
    if found["nodes"]:
        OUT.print(behind)


@app.command()
def rotate(
    step: Annotated[str, typer.Option(help="prepare, issue or drop, in this order.")],
    force: Annotated[bool, typer.Option("--force", help="Also when nodes are cut off by it.")] = False,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """One step from the authority that signs to the next; each waits for the nodes."""
    body = {"step": step, "force": force}
    OUT.print(Client(server, token_file).ask("POST", "/api/v1/ca/rotate", body)["done"], highlight=False)


@app.command()
def revoke(
    node: Annotated[str, typer.Argument(help="CLUSTER/NODE.")],
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Void all that a node has to show, at once; it has to join again."""
    cluster, name = cluster_and_name(node, "NODE")
    Client(server, token_file).ask("POST", "/api/v1/ca/revoke", {"cluster": cluster, "node": name})
    OUT.print(f"{node} is revoked", highlight=False)


@app.command("import")
def take(
    root: Annotated[Path, typer.Option(help="The root's certificate (PEM).")],
    certificate: Annotated[Path, typer.Option(help="Certificate of an intermediate that it signed (PEM).")],
    key: Annotated[Path, typer.Option(help="The intermediate's private key (PEM): ECDSA or Ed25519.")],
    data_dir: Annotated[Path, typer.Option(help="Of a causeway serve that has run.")] = Path("/var/lib/causeway/server"),
    database_url: Annotated[str, typer.Option(envvar="CAUSEWAY_DATABASE_URL", help="As of causeway serve; empty: SQLite in the data directory.")] = "",
) -> None:  # fmt: skip
    """Put a customer's authority beside the one that signs, on the machine of the control plane: then rotate to it by --step issue."""
    from controlplane.clock import SystemClock
    from controlplane.pki import x509
    from controlplane.pki.authorities import Authorities, Authority
    from controlplane.store.database import Database

    try:
        texts = [path.read_text() for path in (root, certificate, key)]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"a file cannot be read: {error}") from error

    async def work() -> Authority:
        database = Database(database_url or f"sqlite+aiosqlite:///{data_dir / 'intent.db'}")
        try:
            authorities = Authorities(database)
            now = SystemClock().now()
            await authorities.open(data_dir, now)
            return await authorities.take(texts[0], x509.Made(texts[1], texts[2]), now)
        finally:
            await database.close()

    taken = asyncio.run(work())
    OUT.print(
        f"authority {taken.id} ({taken.pin}) waits; when every node trusts it (causeway ca show): causeway ca rotate --step issue",
        highlight=False,
    )
