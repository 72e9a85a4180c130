"""Commands of a node and of a server: serve, agent, version."""

import json
import os
import sys
from dataclasses import asdict
from datetime import timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from api import node_process
from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile
from api.cli.trust.join import STATE, StateDir
from federation.errors import CausewayError, InvalidInput

agent = typer.Typer(invoke_without_command=True, help="This node's agent: run it, ask it.")


def serve(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8440",
    data_dir: Annotated[Path, typer.Option(help="SQLite file, admin token, CA file, ca.secret.")] = Path("/var/lib/causeway/server"),
    database_url: Annotated[str, typer.Option(envvar="CAUSEWAY_DATABASE_URL", help="postgresql://… or sqlite:FILE; empty: SQLite in the data directory.")] = "",
    tls_name: Annotated[list[str] | None, typer.Option(help="Name or address that the server's certificate is good for, too (repeatable).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Your own certificate and chain (PEM) instead of one by our authority.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="The root that it comes from (PEM): nodes are told to trust it.")] = None,
    trust_domain: Annotated[str, typer.Option(help="SPIFFE trust domain of the first authority.")] = "causeway.internal",
    certificate_hours: Annotated[int, typer.Option(min=1, max=24, help="Life of nodes' certificates.")] = 12,
    grace_days: Annotated[int, typer.Option(min=0, max=90, help="How long after its end a node's certificate may come back.")] = 14,
    approve_clusters: Annotated[bool, typer.Option("--approve-clusters", help="New clusters wait for a second person.")] = False,
    oidc_issuer: Annotated[str, typer.Option(help="URL of the identity provider whose tokens are taken.")] = "",
    oidc_audience: Annotated[str, typer.Option(help="What its tokens are made for: our client id there.")] = "",
    oidc_user_claim: Annotated[str, typer.Option(help="Claim that names a user in role bindings.")] = "sub",
    oidc_groups_claim: Annotated[str, typer.Option(help="Claim that lists a user's groups.")] = "groups",
    oidc_ca_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Roots (PEM) of the identity provider's certificate.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second that one user, or node, may make, lasting.")] = 200,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Plain HTTP on loopback, for a proxy before it.")] = False,
    insecure_http_anywhere: Annotated[bool, typer.Option("--insecure-http-anywhere", help="Plain HTTP on any address.")] = False,
) -> None:  # fmt: skip
    """Run the control plane."""
    from api.rest.guard.limits import LimitSettings
    from api.serve import ServeSettings, run
    from api.tls import OwnCertificate
    from controlplane.access.oidc import OidcSettings

    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise InvalidInput(
            f"--listen {listen!r} is not HOST:PORT", hint="like 127.0.0.1:8440 or 0.0.0.0:8440"
        )
    own = None
    if tls_cert or tls_key or tls_ca:
        if not (tls_cert and tls_key and tls_ca):
            raise InvalidInput("--tls-cert, --tls-key and --tls-ca are needed together")
        own = OwnCertificate(certificate=tls_cert, key=tls_key, root=tls_ca)
    oidc = None
    if oidc_issuer:
        oidc = OidcSettings(
            issuer=oidc_issuer,
            audience=oidc_audience,
            user_claim=oidc_user_claim,
            groups_claim=oidc_groups_claim,
            ca_file=oidc_ca_file,
        )
    elif oidc_audience:
        raise InvalidInput("--oidc-audience is of no use without --oidc-issuer")
    settings = ServeSettings(
        data_dir=data_dir,
        listen=(host, int(port)),
        database_url=database_url,
        is_tls=not (insecure_http or insecure_http_anywhere),
        is_plain_allowed_anywhere=insecure_http_anywhere,
        tls_names=tuple(tls_name or ()),
        own_certificate=own,
        trust_domain=trust_domain,
        certificate_life=timedelta(hours=certificate_hours),
        certificate_grace=timedelta(days=grace_days),
        oidc=oidc,
        needs_approval=approve_clusters,
        limits=LimitSettings(per_second=rate, burst=rate * 10),
    )
    raise typer.Exit(run(settings))


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
