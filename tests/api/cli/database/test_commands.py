"""`causeway db` as an operator types it, beside a control plane that runs."""

import select
import sqlite3
import stat
from pathlib import Path

import pytest

from controlplane.store import schema
from tests.api.cli.conftest import Run

TIER = "apiVersion: causeway.dev/v1\nkind: Tier\nmetadata: {name: a}\nspec: {order: 7}\n"


def data_dir(server: dict[str, str]) -> str:
    return str(Path(server["CAUSEWAY_TOKEN_FILE"]).parent)


def test_a_database_is_made_once_and_is_its_owners(causeway: Run, tmp_path: Path) -> None:
    made = causeway("db", "init", "--database-url", "sqlite:new.db")
    assert (made.returncode, made.stdout) == (0, f"the database made, schema {schema.newest()}\n")
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    again = causeway("db", "init", CAUSEWAY_DATABASE_URL="sqlite:new.db")
    assert (again.returncode, again.stdout) == (
        0,
        f"the database was made already, schema {schema.newest()}\n",
    )
    upgraded = causeway("db", "upgrade", "--database-url", "sqlite:new.db")
    assert upgraded.stdout == f"schema {schema.newest()}: nothing to do\n"
    checked = causeway("db", "check", "--database-url", "sqlite:new.db")
    assert (checked.returncode, checked.stdout) == (
        0,
        f"schema {schema.newest()}, revision 0, 0 objects: no fault\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["check", "--database-url", "sqlite:none.db"], 5, "there is no database none.db"),
        (["upgrade", "--data-dir", "nowhere"], 5, "there is no database nowhere/intent.db"),
        (["backup", "b", "--database-url", "sqlite:none.db"], 5, "there is no database none.db"),
        (["copy", "--from", "sqlite:none.db", "--to", "sqlite:x.db"], 5, "there is no database none.db"),
        (["restore", "none", "--database-url", "sqlite:x.db"], 5, "none does not exist"),
        (["init", "--database-url", "mysql://h/d"], 2, "a database of mysql is not known"),
        (["init", "--database-url", "sqlite:no/where.db"], 3, "no/where.db cannot be made"),
        (["init", "--database-url", "postgresql://nobody:geheim@127.0.0.1:1/x"], 3, "does not answer"),
    ],
)
def test_a_mistake_is_one_message_and_makes_nothing(
    causeway: Run, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    done = causeway("db", *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [p for p in tmp_path.iterdir() if p.name != ".config"]


def test_backed_up_while_it_serves_and_restored_elsewhere(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    assert causeway("apply", "-f", "-", stdin=TIER, **server).returncode == 0
    done = causeway("db", "backup", "state.backup", "--data-dir", data_dir(server))
    assert done.returncode == 0, done.stderr
    assert "sha256" in done.stdout
    assert stat.S_IMODE((tmp_path / "state.backup").stat().st_mode) == 0o600
    got = causeway("db", "restore", "state.backup", "--database-url", "sqlite:other.db")
    assert got.returncode == 0, got.stderr
    assert "revisions go on from 1000000001" in got.stdout
    refused = causeway("db", "restore", "state.backup", "--database-url", "sqlite:other.db")
    assert (refused.returncode, "--replace" in refused.stderr) == (7, True)
    again = causeway("db", "restore", "state.backup", "--database-url", "sqlite:other.db", "--replace")
    assert "revisions go on from 2000000001" in again.stdout
    assert causeway("db", "check", "--database-url", "sqlite:other.db").returncode == 0


def test_restored_under_a_control_plane_that_serves_on(causeway: Run, server: dict[str, str]) -> None:
    assert causeway("apply", "-f", "-", stdin=TIER, **server).returncode == 0
    where = ("--data-dir", data_dir(server))
    assert causeway("db", "backup", "before", *where).returncode == 0
    later = TIER.replace("name: a", "name: later")
    assert causeway("apply", "-f", "-", stdin=later, **server).returncode == 0
    assert causeway("db", "restore", "before", "--replace", *where).returncode == 0
    assert causeway("get", "tiers", "-o", "name", **server).stdout.split() == ["tiers/a"]
    assert causeway("apply", "-f", "-", stdin=later, **server).returncode == 0
    assert causeway("db", "check", *where).returncode == 0


def test_a_copy_beside_a_server_warns(causeway: Run, server: dict[str, str]) -> None:
    source = f"sqlite:{data_dir(server)}/intent.db"
    with sqlite3.connect(
        f"{data_dir(server)}/intent.db"
    ) as raw:  # a server that has just begun holds no lease yet
        while not raw.execute("SELECT epoch FROM leases WHERE name = 'duties' AND holder != ''").fetchone():
            select.select([], [], [], 0.05)
    raw.close()
    done = causeway("db", "copy", "--from", source, "--to", "sqlite:copy.db")
    assert done.returncode == 0, done.stderr
    assert "counts are the same" in done.stdout
    assert "Stop it first" in done.stderr
    assert causeway("db", "check", "--database-url", "sqlite:copy.db").returncode == 0


def test_what_check_finds_is_a_line_and_an_exit_code(causeway: Run, tmp_path: Path) -> None:
    causeway("db", "init", "--database-url", "sqlite:new.db")
    with sqlite3.connect(tmp_path / "new.db") as raw:
        raw.execute("INSERT INTO addresses VALUES ('10.0.0.1', 'Node a/[red]b')")
    raw.close()
    done = causeway("db", "check", "--database-url", "sqlite:new.db")
    assert done.returncode == 1
    assert "address 10.0.0.1 is held by Node a/[red]b" in done.stdout
