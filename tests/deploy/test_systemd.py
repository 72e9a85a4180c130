"""The systemd units: systemd reads them, and what they start is what the command line has."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from api.cli.main import app

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


def service(unit: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return dict(parser["Service"])


def words_of(unit: Path) -> list[str]:
    env, causeway, *words = shlex.split(service(unit)["ExecStart"])
    assert (env, causeway) == ("/usr/bin/env", "causeway")
    return words


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_command_and_its_options_exist_and_keep_their_state_where_systemd_makes_it(unit: Path) -> None:
    verb, *words = words_of(unit)
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    known = command.commands[verb]
    if isinstance(known, typer.core.TyperGroup) and words and words[0] in known.commands:
        verb, *words = words
        known = known.commands[verb]
    context = known.make_context(verb, list(words))
    folders = {str(value) for name, value in context.params.items() if name in ("state_dir", "data_dir")}
    assert folders == {f"/var/lib/{service(unit)['StateDirectory']}"}


def test_a_unit_with_an_option_that_does_not_exist_would_be_noticed() -> None:
    known = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="--nope") as refused:
        known.make_context("serve", ["--nope"])
    assert type(refused.value).__name__ == "NoSuchOption"


def test_stopping_the_agent_leaves_its_tunnels_and_nobody_else_reads_its_key() -> None:
    agent = service(next(unit for unit in UNITS if "agent" in unit.stem))
    assert agent["KillMode"] == "process"
    assert agent["StateDirectoryMode"] == "0700"
