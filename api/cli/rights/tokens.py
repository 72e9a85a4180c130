"""`causeway whoami` and `causeway apitoken`."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile, literal
from federation.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="API tokens of users and programs.")
DAY = 86400
Names = Annotated[list[str] | None, typer.Option(help="Only there (repeatable).")]


def whoami(
    output: Annotated[str, typer.Option("-o", "--output", help="text or json.")] = "text",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Who you are to the control plane, and what you may do."""
    found = Client(server, token_file).ask("GET", "/api/v1/whoami")
    if output == "json":
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    OUT.print(literal(found["name"]), highlight=False)
    for grant in found["grants"]:
        OUT.print(f"  {literal(_grant(grant))}", highlight=False)
    if not found["grants"]:
        OUT.print("  nothing: an owner gives a role, see causeway get rolebindings", highlight=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the audit log calls its user.")],
    role: Annotated[str, typer.Option(help="viewer, auditor, policy-admin, network-admin or owner.")],
    cluster: Names = None,
    namespace: Names = None,
    tier: Annotated[list[str] | None, typer.Option(help="Only policies of this tier are written (repeatable).")] = None,
    days: Annotated[float, typer.Option(help="How long it lives; 0: for ever.")] = 90,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:  # fmt: skip
    """A token, shown this once. It may do nothing that you may not."""
    if days < 0:
        raise InvalidInput("--days is not a number of days")
    bounds = {"clusters": cluster, "namespaces": namespace, "tiers": tier}
    grant = {"role": role, **{key: names for key, names in bounds.items() if names}}
    body: dict[str, Any] = {"name": name, "grants": [grant]}
    if days:
        body["ttlSeconds"] = max(1, int(days * DAY))
    OUT.print(
        Client(server, token_file).ask("POST", "/api/v1/apitokens", body)["token"],
        highlight=False,
        markup=False,
    )


@app.command("list")
def list_all(server: Server = "", token_file: TokenFile = "") -> None:
    """Tokens that may do nothing that you may not, without their secrets."""
    table = Table("ID", "NAME", "MAY", "EXPIRES", "BY", box=None, pad_edge=False)
    for item in Client(server, token_file).ask("GET", "/api/v1/apitokens")["items"]:
        grants = "; ".join(_grant(grant) for grant in item["grants"])
        table.add_row(*map(literal, (item["id"], item["name"], grants, item["expires"] or "never", item["createdBy"])))  # fmt: skip
    OUT.print(table)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="Its id: what stands before the dot.")],
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Make a token useless, at once."""
    identifier = token_id.partition(".")[0]
    Client(server, token_file).ask("DELETE", f"/api/v1/apitokens/{identifier}")
    OUT.print(f"API token {literal(identifier)} revoked", highlight=False)


def _grant(grant: dict[str, Any]) -> str:
    bounds = [
        f"{key} {','.join(grant[key])}" for key in ("clusters", "namespaces", "tiers") if grant.get(key)
    ]
    return f"{grant['role']} {'of ' + '; '.join(bounds) if bounds else 'everywhere'}"
