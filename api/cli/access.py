"""Commands about who gets in and what is joined: tokens, links, roll-outs."""

from typing import Annotated

import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.common import OUT, Server, Timeout, TokenFile, Wait, await_rollout, literal, send
from api.cli.read import show
from federation.kinds.registry import kind_named
from federation.resources.codec import decode

token = typer.Typer(no_args_is_help=True, help="Join tokens.")
link = typer.Typer(no_args_is_help=True, help="Links between clusters.")
cluster_app = typer.Typer(no_args_is_help=True, help="Clusters that wait for a second person.")
rollout = typer.Typer(no_args_is_help=True, help="How far changes have come.")


@token.command("create")
def create_token(
    cluster: Annotated[str, typer.Option(help="Cluster of the nodes that may join with it.")],
    ttl: Annotated[int, typer.Option(help="Seconds until it expires.")] = 3600,
    uses: Annotated[int, typer.Option(help="How many nodes may use it.")] = 1,
    role: Annotated[str, typer.Option(help="node or relay.")] = "node",
    os: Annotated[str, typer.Option(help="Only for linux, or windows.")] = "",
    source: Annotated[str, typer.Option("--from", help="Only for requests from this prefix.")] = "",
    node: Annotated[str, typer.Option(help="Only for a node of this name.")] = "",
    commands: Annotated[bool, typer.Option("--commands", help="With what to paste on the node.")] = False,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """A join token for nodes of a cluster, shown this once."""
    bounds = {"role": role, "os": os, "prefix": source, "node": node}
    body = {"cluster": cluster, "ttlSeconds": ttl, "uses": uses, **{k: v for k, v in bounds.items() if v}}
    client = Client(server, token_file)
    text = client.ask("POST", "/api/v1/jointokens", body)["token"]
    OUT.print(text, highlight=False)
    if commands:
        words = f"causeway join --server {client.server} --cluster {cluster} --node {node or 'NODE'} --token-file -"
        if client.server.startswith("https://"):
            words += f" --ca-cert-hash {client.ask('GET', '/api/v1/ca')['serverHash']}"
        OUT.print(f"shell:      printf %s '{text}' | {words} --address ADDRESS --pod-prefix PREFIX")
        OUT.print(f"PowerShell: '{text}' | {words} --address ADDRESS --pod-prefix PREFIX")


@token.command("list")
def list_tokens(server: Server = "", token_file: TokenFile = "") -> None:
    """Join tokens, without their secrets."""
    table = Table(box=None, pad_edge=False)
    for title in ("ID", "CLUSTER", "EXPIRES", "USES LEFT", "BOUND TO", "BY", "USED"):
        table.add_column(title)
    for item in Client(server, token_file).ask("GET", "/api/v1/jointokens")["items"]:
        bound = " ".join(item[name] for name in ("role", "os", "prefix", "node") if item[name])
        used = "; ".join(f"{use['node']} from {use['source']} at {use['at']}" for use in item["used"])
        left = str(item["usesLeft"])
        table.add_row(item["id"], item["cluster"], item["expires"], left, bound, item["createdBy"], used)
    OUT.print(table)


@token.command("revoke")
def revoke_token(token_id: str, server: Server = "", token_file: TokenFile = "") -> None:
    """Make a join token useless, by its id (what stands before the dot)."""
    identifier = token_id.partition(".")[0]
    Client(server, token_file).ask("DELETE", f"/api/v1/jointokens/{identifier}")
    OUT.print(f"token {identifier} revoked", highlight=False)


@cluster_app.command("approve")
def approve_cluster(name: str, server: Server = "", token_file: TokenFile = "") -> None:
    """Let a cluster in that another person asked for: then its nodes may join, and links may name it."""
    Client(server, token_file).ask("POST", f"/api/v1/clusters/{name}/approve")
    OUT.print(f"cluster {literal(name)} approved", highlight=False)


@link.command("create")
def create_link(
    one: str,
    other: str,
    mode: Annotated[str, typer.Option(help="wireguard")] = "wireguard",
    topology: Annotated[str, typer.Option(help="mesh")] = "mesh",
    wait: Wait = False,
    timeout: Timeout = 60,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Join two clusters."""
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Link",
        "metadata": {"name": f"{one}-{other}"},
        "spec": {"clusters": [one, other], "mode": mode, "topology": topology},
    }
    decode(document)
    client = Client(server, token_file)
    revision = send(client, "/api/v1/apply", [document])
    if wait:
        await_rollout(client, revision, timeout)


@link.command("list")
def list_links(server: Server = "", token_file: TokenFile = "") -> None:
    """The links."""
    kind = kind_named("link")
    show(kind, Client(server, token_file).all(f"/api/v1/{kind.plural}"), "table")


@link.command("delete")
def delete_link(
    name: str, wait: Wait = False, timeout: Timeout = 60, server: Server = "", token_file: TokenFile = ""
) -> None:
    """Part two clusters, by the link's name."""
    client = Client(server, token_file)
    revision = send(client, "/api/v1/delete", [client.ask("GET", f"/api/v1/links/{name}")])
    if wait:
        await_rollout(client, revision, timeout)


@rollout.command("status")
def rollout_status(
    revision: int, timeout: Timeout = 60, server: Server = "", token_file: TokenFile = ""
) -> None:
    """Wait until every node enforces a revision; say who is behind, and why."""
    await_rollout(Client(server, token_file), revision, timeout)
