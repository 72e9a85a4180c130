"""Commands about the control plane's database: made, upgraded, checked, copied, backed up, restored."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from api.cli.common import OUT, literal
from controlplane.clock import SystemClock

if TYPE_CHECKING:  # SQLAlchemy takes half a second: only who uses it waits for it
    from controlplane.store.database import Database
    from controlplane.store.upkeep.moving import Moved

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="The control plane's database.")
DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="CAUSEWAY_DATABASE_URL",
        help="sqlite:FILE, postgresql://…, or SQLAlchemy's URL; empty: SQLite in the data directory.",
    ),
]
DataDir = Annotated[Path, typer.Option(help="Where `causeway serve` keeps its SQLite file.")]
DATA = Path("/var/lib/causeway/server")


def url_of(database_url: str, data_dir: Path) -> str:
    """The database that `causeway serve` would take."""
    return database_url or f"sqlite:{data_dir / 'intent.db'}"


@app.command("init")
def init(database_url: DatabaseUrl = "", data_dir: DataDir = DATA) -> None:
    """Make the schema in an empty database."""
    from controlplane.store.upkeep import doors

    made = _with(url_of(database_url, data_dir), doors.make, is_new=True)
    said = f"was made already, schema {made.before}" if made.before else f"made, schema {made.after}"
    OUT.print(f"the database {said}", highlight=False)


@app.command("upgrade")
def upgrade(database_url: DatabaseUrl = "", data_dir: DataDir = DATA) -> None:
    """Bring the schema to this release's; servers of the release before go on meanwhile."""
    from controlplane.store.upkeep import doors

    async def work(database: "Database") -> doors.Made:
        await doors.refuse_unless_ours(database)
        return await doors.bring_up(database)

    made = _with(url_of(database_url, data_dir), work)
    if made.before == made.after:
        OUT.print(f"schema {made.after}: nothing to do", highlight=False)
    else:
        OUT.print(f"schema {made.before} upgraded to {made.after}", highlight=False)


@app.command("check")
def check(database_url: DatabaseUrl = "", data_dir: DataDir = DATA) -> None:
    """Whether everything in the database agrees; each fault is a line, with what to do."""
    from controlplane.store.upkeep import check

    found = _with(url_of(database_url, data_dir), check.check)
    for fault in found.faults:
        OUT.print(literal(fault), highlight=False)
    if found.faults:
        raise typer.Exit(1)
    OUT.print(
        f"schema {found.schema}, revision {found.revision}, {found.objects} objects: no fault",
        highlight=False,
    )


@app.command("copy")
def copy(
    source: Annotated[str, typer.Option("--from", help="The database that is read.")],
    target: Annotated[str, typer.Option("--to", help="An empty database.")],
) -> None:
    """Carry everything into another, empty database: SQLite to PostgreSQL, or back."""
    from controlplane.store.upkeep import doors, moving

    async def work() -> "Moved":
        async with doors.opened(source) as one, doors.opened(target, is_new=True) as other:
            return await moving.copy(one, other, SystemClock().now())

    moved = asyncio.run(work())
    _tell(moved.rows)
    OUT.print(f"copied as of revision {moved.revision}; counts are the same on both sides", highlight=False)
    if moved.is_served:
        _warn(
            "a control plane serves the source: what it writes from now on is not in the copy. Stop it first, copy again."
        )


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="What to write; an older one of that name is replaced.")],
    database_url: DatabaseUrl = "",
    data_dir: DataDir = DATA,
) -> None:
    """One consistent state as a file, also while the control plane runs."""
    from controlplane.store.upkeep import moving

    async def work(database: "Database") -> "Moved":
        return await moving.backup(database, file, release=installed("causeway"), now=SystemClock().now())

    moved = _with(url_of(database_url, data_dir), work)
    _tell(moved.rows)
    OUT.print(
        f"{literal(str(file))}: revision {moved.revision}, schema {moved.schema}, sha256 of its lines {moved.checksum}",
        highlight=False,
    )


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    database_url: DatabaseUrl = "",
    data_dir: DataDir = DATA,
    replace: Annotated[bool, typer.Option("--replace", help="Give up what stands in the database.")] = False,
) -> None:
    """Take a backup's state, into an empty database; verified before anything is changed."""
    from controlplane.store.upkeep import check, restoring

    async def work(database: "Database") -> "tuple[Moved, check.Checked]":
        moved = await restoring.restore(database, file, is_replacing=replace, now=SystemClock().now())
        return moved, await check.check(database)

    moved, found = _with(url_of(database_url, data_dir), work, is_new=True)
    _tell(moved.rows)
    OUT.print(
        f"restored; revisions go on from {moved.revision}, so that none is given twice", highlight=False
    )
    for fault in found.faults:
        _warn(fault)
    if found.faults:
        raise typer.Exit(1)


def _with(url: str, work: "Callable[[Database], Awaitable[T]]", *, is_new: bool = False) -> T:
    from controlplane.store.upkeep import doors

    async def whole() -> T:
        async with doors.opened(url, is_new=is_new) as database:
            return await work(database)

    return asyncio.run(whole())


def _tell(rows: Mapping[str, int]) -> None:
    for name, count in rows.items():
        OUT.print(f"{name:<20} {count:>9}", highlight=False)


def _warn(text: str) -> None:
    sys.stderr.write(f"causeway: {text}\n")
