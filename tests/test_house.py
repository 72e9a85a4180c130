"""Guards of the house: what a reader may rely on everywhere, checked."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("federation", "controlplane", "api", "bgp", "tunnels", "nodeagent", "migrations")
LONG_FILES: dict[str, str] = {}
"""Files over 600 lines, each with its reason."""
ROOT_ENTRIES = {
    *PACKAGES, "deploy", "tests", "benchmarks", "examples", "docs", "dev", ".ci", ".gitignore", "pyproject.toml",
    "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "requirements.txt", "requirements-dev.txt",
}  # fmt: skip
BANNED_WORDS = ("Manager", "Helper", "Utils", "Impl")


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).exists()]


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_public_names_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert not silent, f"without docstring: {silent}"


def test_no_source_file_is_too_long() -> None:
    sources = [path for path in tracked() if path.suffix in (".py", ".c", ".h", ".js")]
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > 600}
    assert set(long) == set(LONG_FILES), f"over 600 lines, or no longer so: {long}"


def test_no_package_holds_more_modules_than_a_reader_can_survey() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in {path.parent for path in modules()}
        if (count := len([m for m in folder.glob("*.py") if m.name != "__init__.py"])) > 12
        and folder.name != "versions"
    }
    assert not crowded


def test_no_name_says_nothing() -> None:
    empty = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(word in node.name for word in BANNED_WORDS)
    ]
    assert not empty


def test_no_fake_is_imported_by_production_code() -> None:
    guilty = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.stem != "fake"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[-1] == "fake"
    ]
    assert not guilty


def test_the_root_holds_only_what_the_design_lists() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= ROOT_ENTRIES


def test_requirements_are_pinned_by_hash_and_name_no_download_address() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if line and line[0].isalpha()]
        assert pins
        assert all("==" in line for line in pins)
        assert text.count("--hash=sha256:") >= len(pins)


def test_tests_do_not_sleep_or_patch() -> None:
    words = ("time" + ".sleep(", "mock" + ".patch", "monkeypatch" + ".setattr(")
    guilty = [
        str(p.relative_to(ROOT))
        for p in (ROOT / "tests").rglob("*.py")
        if any(w in p.read_text() for w in words)
    ]
    assert not guilty


def test_the_script_has_the_goals_that_the_readme_promises() -> None:
    text = subprocess.run(["./dev", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for goal in ("setup", "demo", "test", "lint", "fmt", "bench", "docs", "clean"):
        assert f"./dev {goal}" in text


def test_no_secret_is_committed() -> None:
    marks = ("PRIVATE " + "KEY-----", "PrivateKey" + " = ")
    text_files = [p for p in tracked() if p.suffix not in (".png", ".gz")]
    assert not [
        str(p.relative_to(ROOT)) for p in text_files if any(m in p.read_text(errors="ignore") for m in marks)
    ]
