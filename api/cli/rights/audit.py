"""`causeway audit`: the log of who did what: read, checked, taken away.

`verify` does not believe the control plane: it makes every hash anew, from the first entry on.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.common import OUT, Server, TokenFile, literal
from federation.audit import Chain, Deed, Entry
from federation.errors import Conflict, InvalidInput

app = typer.Typer(no_args_is_help=True, help="Who did what.")
PAGE = 5000
FIELDS = ("at", "actor", "address", "request", "action", "subject", "before", "after")
Seen = Annotated[str, typer.Option(help="NUMBER:HASH of an entry, as an earlier verify told it: it must still be there.")]  # fmt: skip


@app.command("list")
def list_entries(
    actor: Annotated[str, typer.Option(help="By this one.")] = "",
    action: Annotated[str, typer.Option(help="create, update, delete, certificate.revoke …")] = "",
    subject: Annotated[str, typer.Option(help="What subjects begin with: 'Tier', 'Node dc1/'.")] = "",
    since: Annotated[str, typer.Option(help="RFC 3339.")] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="table or json (a line each).")] = "table",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Entries, the oldest first."""
    asked = {"actor": actor, "action": action, "subject": subject, "since": since}
    items = (item for page in _pages(Client(server, token_file), **asked) for item in page["items"])
    if output == "json":
        for item in items:
            sys.stdout.write(json.dumps(item) + "\n")
        return
    table = Table("NUMBER", "AT", "WHO", "FROM", "DID", "WHAT", box=None, pad_edge=False)
    for item in items:
        shown = (item[name] for name in ("at", "actor", "address", "action", "subject"))
        table.add_row(str(item["sequence"]), *map(literal, shown))
    OUT.print(table)


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option("-f", "--filename", help="An export, instead of the control plane; - is standard input.")] = None,
    seen: Seen = "",
    server: Server = "",
    token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Whether the log is whole and nothing in it was changed. Exit code 7 when not."""
    chain, known = Chain(), _known(seen)
    written = None
    entries: Iterator[Entry]
    if file is None:
        client = Client(server, token_file)
        written = int(client.ask("GET", "/api/v1/audit", limit=1)["written"])
        entries = (_entry(item, "") for page in _pages(client) for item in page["items"])
    else:
        entries = _exported(file)
    for entry in entries:
        chain.add(entry)
        if known and entry.sequence == known[0] and entry.hash != known[1]:
            raise Conflict(
                f"the audit log was made anew: entry {known[0]} had the hash {known[1]}, and has {entry.hash}"
            )
    if written is not None and chain.sequence < written:
        raise Conflict(f"the audit log was cut: {written} entries were written, {chain.sequence} are there")
    if known and chain.sequence < known[0]:
        raise Conflict(f"the audit log was cut: entry {known[0]} was seen, {chain.sequence} are there")
    OUT.print(
        f"{chain.sequence} entries follow from one another\nkeep elsewhere, for the next --seen: {chain.sequence}:{chain.head}", highlight=False
    )  # fmt: skip


@app.command()
def export(server: Server = "", token_file: TokenFile = "") -> None:
    """All entries as a line of JSON each, with their hashes: for another machine to keep, and verify -f."""
    for page in _pages(Client(server, token_file)):
        for item in page["items"]:
            sys.stdout.write(json.dumps(item) + "\n")


def _pages(client: Client, **asked: str) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = client.ask("GET", "/api/v1/audit", after=after, limit=PAGE, **asked)
        if not page["items"]:
            return
        yield page
        after = page["items"][-1]["sequence"]


def _exported(path: Path) -> Iterator[Entry]:
    if str(path) == "-":
        yield from _lines(sys.stdin, "standard input")
        return
    try:
        with path.open() as file:
            yield from _lines(file, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error


def _lines(file: TextIO, name: str) -> Iterator[Entry]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                item = json.loads(line)
            except ValueError as error:
                raise InvalidInput(f"{name}: line {number} is not JSON") from error
            yield _entry(item, f"{name}: line {number}: ")


def _entry(item: Any, where: str) -> Entry:
    try:
        deed = Deed(**{field: str(item[field]) for field in FIELDS})
        return Entry(int(item["sequence"]), deed, str(item["hash"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{where}not an entry of the audit log ({error})") from error


def _known(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit() and digest):
        raise InvalidInput(f"--seen {text!r} is not NUMBER:HASH")
    return int(number), digest
