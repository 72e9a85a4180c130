"""The command line's own documentation says what there is."""

from pathlib import Path

import typer

from api.cli.client import EXIT_CODES
from api.cli.main import EPILOG, app

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def commands(group: typer.Typer, prefix: str = "") -> list[str]:
    found = []
    for command in group.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        found.append(f"{prefix}{name}")
    for each in group.registered_groups:
        if each.typer_instance is not None:
            found += commands(each.typer_instance, f"{each.name} ")
    return found


def test_every_command_is_documented() -> None:
    listed = commands(app)
    assert {"get", "policy test", "lab exec", "token revoke", "agent status"} <= set(listed)
    for command in listed:
        group, _, verb = command.rpartition(" ")
        assert f"`{group or verb} " in PAGE or f"`{group or verb}`" in PAGE, command
        assert verb in PAGE, command


def test_every_exit_code_is_documented() -> None:
    for code in {0, 1, 130, *EXIT_CODES.values()}:
        assert f"| {code} |" in PAGE
        assert f"{code} " in EPILOG
