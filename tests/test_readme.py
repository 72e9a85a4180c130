"""What the README tells a user to type exists: files, commands, options."""

import os
import re
import shlex
import shutil
import subprocess
import sys
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
    for line in re.sub(r"```.*?```", "", README.partition("## Two commands")[2], flags=re.DOTALL).splitlines()
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


JOB = yaml.safe_load(README.partition("```yaml\n")[2].partition("```")[0])["jobs"]["policies"]
STEPS = [step["run"] for step in JOB["steps"] if "run" in step and not step["run"].startswith("pip install ")]


def run_in_ci(folder: Path) -> list[int]:
    """The exit code of each step of the README's CI job, in a folder that holds the user's files."""
    (folder / "bin").mkdir()
    tool = folder / "bin" / "causeway"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m api.cli.main "$@"\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return [
        subprocess.run(["bash", "-e", "-c", step], cwd=folder, env=environment, check=False, timeout=60).returncode
        for step in STEPS
    ]  # fmt: skip


def test_the_ci_job_of_the_readme_passes_as_it_stands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    assert any("policy test" in step for step in STEPS)
    assert any("simulate" in step for step in STEPS)
    assert run_in_ci(tmp_path) == [0] * len(STEPS)
    assert (tmp_path / "report.xml").read_text().count("<testcase ") == 4


def test_the_ci_job_of_the_readme_fails_when_a_policy_lets_in_too_much(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    policies = tmp_path / "examples/simulation/cluster/policies.yaml"
    policies.write_text(policies.read_text().replace(", podSelector: {matchLabels: {app: api}}", ""))
    assert run_in_ci(tmp_path) == [0, 1, 1]
