"""What the README tells a user to type exists: files, commands, options."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from api.cli.main import app
from federation.resources.codec import decode

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
TYPED = [
    line.partition(" #")[0].strip()
    for line in README.partition("## Two commands")[2].splitlines()
    if line.startswith("    ")
]
COMMANDS = sorted({line for line in TYPED if line.startswith("causeway ")})
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_one_that_the_command_line_takes(line: str) -> None:
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while isinstance(command, typer.core.TyperGroup) and words:
        command = command.commands[words.pop(0)]
    assert command.make_context("causeway", words)


def test_the_readme_shows_commands_at_all() -> None:
    assert len(COMMANDS) >= 12


def test_every_file_that_the_readme_names_is_there() -> None:
    named = {*re.findall(r"\]\(([^)#]+)\)", README), *re.findall(r"-f (\S+)", README), "deploy/systemd/"}
    named.discard("-")  # standard input
    assert not [name for name in named if "://" not in name and not (ROOT / name).exists()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted_as_it_stands(path: Path) -> None:
    assert [decode(document) for document in yaml.safe_load_all(path.read_text())]
