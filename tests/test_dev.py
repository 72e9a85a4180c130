"""The script ./dev says what is wrong with a machine before it changes anything. Every run here ends before that."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "env", "readlink", "dirname", "cat", "grep")


def dev_setup(tmp_path: Path, **scripts: str) -> "subprocess.CompletedProcess[str]":
    """`./dev setup` on a machine that has only TOOLS and these scripts."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    for name, text in scripts.items():
        path = tmp_path / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return subprocess.run(
        [ROOT / "dev", "setup"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip


def test_a_machine_without_debians_tools_is_told_what_is_needed(tmp_path: Path) -> None:
    done = dev_setup(tmp_path)
    assert done.returncode == 1
    assert "Debian" in done.stderr
    assert "python3-bpfcc" in done.stderr


def test_a_user_who_is_not_root_is_told_which_packages_are_missing_and_how_to_get_them(
    tmp_path: Path,
) -> None:
    done = dev_setup(
        tmp_path, apt_get="echo must not run; exit 9", id="echo 1000", dpkg_query='[ "$4" = git ] || echo installed'
    )  # fmt: skip
    assert done.returncode == 1
    assert "missing: git\n" in done.stderr
    assert "apt-get install --no-install-recommends git" in done.stderr
    assert "must not run" not in done.stdout + done.stderr


def test_a_package_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    done = dev_setup(
        tmp_path, apt_get='[ "$1" = update ]', id="echo 0", dpkg_query='[ "$4" = git ] || echo installed'
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not install git" in done.stderr
