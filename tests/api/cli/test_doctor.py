"""`causeway doctor`: each check on a machine that has what it asks, and on one that has not."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.cli import doctor
from api.cli.doctor import Host, machine

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def bare(folder: Path) -> Host:
    """A machine that has nothing."""
    for place, text in (
        ("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n"), ("proc/sys/kernel/osrelease", "4.19.0-1\n"), ("proc/self/mounts", "proc /proc proc rw 0 0\n"),
    ):  # fmt: skip
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)

    def fail(words: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(words, 1, "", "Operation not supported")

    return Host(root=folder, which=lambda name: None, run=fail, state_dir=folder / "state")


def test_a_bare_machine_is_told_what_fails_what_is_lost_and_what_to_do(tmp_path: Path) -> None:
    found = {finding.check: finding for finding in machine(bare(tmp_path))}
    assert {name for name, f in found.items() if f.level == "fail"} == {
        "rights",
        "kernel",
        "bpf(2)",
        "bpffs",
        "tc clsact",
        "bcc",
    }
    assert {name for name, f in found.items() if f.level == "warn"} >= {"wireguard", "tools", "cgroup v2"}
    for finding in found.values():
        if finding.level == "fail":
            assert finding.lost
            assert finding.todo
    assert "policy is enforced all the same" in found["wireguard"].lost


def test_a_check_that_cannot_be_made_is_said_and_ends_nothing(tmp_path: Path) -> None:
    found = list(machine(replace(bare(tmp_path), root=tmp_path / "gone")))
    assert any("could not be checked" in finding.found for finding in found)
    assert len(found) == 12


def test_a_credential_that_others_can_read_fails(tmp_path: Path) -> None:
    host = bare(tmp_path)
    host.state_dir.mkdir()
    credential = host.state_dir / "credential"
    credential.write_text("x")
    credential.chmod(0o644)
    assert doctor.state(host).level == "fail"
    credential.chmod(0o600)
    assert doctor.state(host).level == "ok"


def test_this_machine_is_checked_for_real(causeway: Run) -> None:
    done = causeway("doctor", "-o", "json", CAUSEWAY_SERVER="http://127.0.0.1:1")
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert findings["control plane"]["level"] == "warn"
    assert {
        "rights",
        "kernel",
        "bpffs",
        "tc clsact",
        "bcc",
        "headers",
        "wireguard",
        "ports",
    } <= findings.keys()
    has_failed = any(finding["level"] == "fail" for finding in findings.values())
    assert done.returncode == (1 if has_failed else 0)


def test_the_control_plane_its_clock_and_the_token_are_checked(causeway: Run, server: dict[str, str]) -> None:
    findings = {f["check"]: f for f in json.loads(causeway("doctor", "-o", "json", **server).stdout)}
    assert [findings[check]["level"] for check in ("control plane", "clock", "API token")] == [
        "ok",
        "ok",
        "ok",
    ]
    without = causeway("doctor", "-o", "json", **{**server, "CAUSEWAY_TOKEN_FILE": ""})
    assert {f["check"]: f["level"] for f in json.loads(without.stdout)}["API token"] == "warn"


@pytest.mark.parametrize("release", ["5.10.0-28-amd64", "6.1.0", "6.18.44+deb"])
def test_kernels_from_5_10_on_are_fine(tmp_path: Path, release: str) -> None:
    host = bare(tmp_path)
    (tmp_path / "proc/sys/kernel/osrelease").write_text(release + "\n")
    assert doctor.kernel(host).level == "ok"
