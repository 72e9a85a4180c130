"""`causeway`: the command line. Each command stands in the module of its subject; exit codes in `api.cli.client`."""

import sys

import typer

from api.cli import access, doctor, node, policy, read, write
from api.cli.client import exit_code, harmless
from api.cli.database import commands as database
from api.cli.datapath import flows, tables, verdict
from api.cli.explain import explain
from api.cli.rights import audit, tokens
from api.cli.simulate import simulate
from api.cli.trust import ca, join
from api.lab import commands as lab
from api.relay import commands as relay
from federation.errors import CausewayError

EPILOG = (
    "Exit codes: 0 ok, 1 failed or differs, 2 usage or invalid input, 3 control plane unreachable, 4 not enforced in time, "
    "5 not found, 6 not let in, 7 conflict, 130 stopped."
)
app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, pretty_exceptions_enable=False, help="Links and polices clusters."
)
for command in (
    read.get, read.describe, read.diff, write.apply, write.delete, write.edit, simulate, explain, node.serve, join.join, tokens.whoami, node.version,
    doctor.doctor, lab.demo,
):  # fmt: skip
    app.command()(command)
for question in (tables.maps, tables.endpoints, tables.conntrack, verdict.verdict, flows.flows):
    node.agent.command()(question)
for name, group in (
    ("ca", ca.app),
    ("token", access.token),
    ("apitoken", tokens.app),
    ("audit", audit.app),
    ("cluster", access.cluster_app),
    ("link", access.link),
    ("rollout", access.rollout),
    ("policy", policy.app),
    ("agent", node.agent),
    ("db", database.app),
    ("lab", lab.app),
    ("relay", relay.app),
):
    app.add_typer(group, name=name)


def main() -> None:
    """The entry point: every error of ours is one message and an exit code."""
    try:
        app()
    except CausewayError as error:
        sys.stderr.write(f"causeway: {harmless(str(error))}\n")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.stderr.write("causeway: stopped\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
