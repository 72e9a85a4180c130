"""`causeway lab` and `causeway demo`."""

import uuid
from typing import Annotated

import typer

from api.lab import build

app = typer.Typer(no_args_is_help=True, help="A federation of network namespaces on this machine (root).")
Name = Annotated[str, typer.Option(help="The lab's name.")]


@app.command()
def up(name: Name = "", clusters: int = 2, nodes: int = 2, workloads: int = 4) -> None:
    """Build a lab, linked to nothing yet."""
    from api.lab.demo import OUT
    from api.lab.federation import must_be_root
    from api.lab.federation import up as build_up
    from api.lab.topology import topology

    must_be_root()
    chosen = name or uuid.uuid4().hex[:5]
    is_new = not (build.LABS / chosen).exists()
    try:
        lab = build_up(topology(chosen, clusters, nodes, workloads))
    except BaseException:
        if is_new:
            build.down(chosen)
        raise
    OUT.print(
        f"lab {chosen}: CAUSEWAY_SERVER=http://127.0.0.1:{lab.port} CAUSEWAY_TOKEN_FILE={lab.folder}/server/admin.token"
    )


@app.command()
def status() -> None:
    """The labs that stand, and what of each."""
    names = sorted(path.name for path in build.LABS.glob("*")) if build.LABS.exists() else []
    for name in names:
        typer.echo(f"{name}: {len(build.standing(name))} namespaces")


@app.command()
def down(name: Name) -> None:
    """Remove a lab, whatever of it stands (also after a crash)."""
    build.down(name)


def demo(keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running.")] = False) -> None:
    """Link and police two clusters on this machine, step by step."""
    from api.lab.demo import demo as run

    run(keep)
