"""The command line against a real control plane: what a user types, sees and gets wrong."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DOCUMENTS = """
apiVersion: causeway.dev/v1
kind: Cluster
metadata: {name: %(c)s, labels: {env: %(env)s}}
spec: {prefixes: [%(prefix)s]}
"""


NUMBERS = itertools.count()
"""One server is asked by all tests of a run."""


@pytest.fixture
def cluster(causeway: Run, server: dict[str, str], tmp_path: Path) -> str:
    """A cluster of this test's own."""
    name = f"c{os.urandom(3).hex()}"
    second, third = divmod(next(NUMBERS), 256)
    file = tmp_path / "cluster.yaml"
    text = DOCUMENTS % {
        "c": name,
        "env": "prod",
        "prefix": f"10.{200 + second}.{third}.0/24",
    }
    file.write_text(text)
    done = causeway("apply", "-f", str(file), **server)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Cluster {name} created\n"
    return name


def test_get_shows_one_and_many_in_every_form(causeway: Run, server: dict[str, str], cluster: str) -> None:
    assert cluster in causeway("get", "clusters", **server).stdout
    assert causeway("get", "cluster", cluster, "-o", "name", **server).stdout == f"clusters/{cluster}\n"
    assert (
        json.loads(causeway("get", "clusters", cluster, "-o", "json", **server).stdout)["metadata"]["name"]
        == cluster
    )
    assert (
        yaml.safe_load(causeway("get", "Cluster", cluster, "-o", "yaml", **server).stdout)["kind"]
        == "Cluster"
    )
    listed = json.loads(
        causeway("get", "clusters", "-l", "env == 'prod' && !has(zz)", "-o", "json", **server).stdout
    )
    assert cluster in [item["metadata"]["name"] for item in listed["items"]]
    assert causeway("get", "clusters", "-l", "env == 'none'", **server).stderr == "no clusters\n"


def test_short_names_and_output_without_a_terminal_have_no_colour(
    causeway: Run, server: dict[str, str]
) -> None:
    done = causeway("get", "gnp", **server)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_describe_tells_all_of_one(causeway: Run, server: dict[str, str], cluster: str) -> None:
    said = causeway("describe", "cluster", cluster, **server).stdout
    for part in (f"Cluster {cluster}", "Labels:", "env=prod", "prefixes:", "Enforced:"):
        assert part in said


def test_apply_is_idempotent_and_a_dry_run_changes_nothing(
    causeway: Run, server: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "cluster.yaml")
    assert causeway("apply", "-f", file, **server).stdout == f"Cluster {cluster} unchanged\n"
    Path(file).write_text(Path(file).read_text().replace("prod", "test"))
    assert causeway("diff", "-f", file, **server).returncode == 1
    assert (
        causeway("apply", "--dry-run", "-f", file, **server).stdout
        == f"Cluster {cluster} configured (dry run)\n"
    )
    assert causeway("diff", "-f", file, **server).returncode == 1
    assert causeway("apply", "-f", file, **server).returncode == 0
    assert causeway("diff", "-f", file, **server).returncode == 0


def test_a_half_broken_bulk_is_refused_whole_with_every_fault(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    good = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Tier",
        "metadata": {"name": "half"},
        "spec": {"order": 1},
    }
    bad = {**good, "metadata": {"name": "Bad Name"}, "spec": {"colour": 1}}
    done = causeway("apply", "-f", "-", stdin=yaml.safe_dump_all([good, bad]), **server)
    assert done.returncode == 2
    assert "standard input, document 2: /spec/colour: unknown field" in done.stderr
    assert "/metadata/name" in done.stderr
    assert causeway("get", "tier", "half", **server).returncode == 5


def test_delete_by_name_and_by_file(causeway: Run, server: dict[str, str], cluster: str) -> None:
    assert causeway("delete", "cluster", cluster, **server).stdout == f"Cluster {cluster} deleted\n"
    again = causeway("delete", "cluster", cluster, **server)
    assert again.returncode == 5
    assert "Traceback" not in again.stderr
    assert causeway("delete", **server).returncode == 2
    assert causeway("delete", "cluster", **server).returncode == 2


def test_tokens_are_made_listed_and_revoked(causeway: Run, server: dict[str, str], cluster: str) -> None:
    text = causeway("token", "create", "--cluster", cluster, **server).stdout.strip()
    identifier, _, secret = text.partition(".")
    assert identifier
    assert len(secret) >= 20
    listed = causeway("token", "list", **server).stdout
    assert identifier in listed
    assert secret not in listed
    assert causeway("token", "revoke", text, **server).returncode == 0
    join = ("join", "--cluster", cluster, "--node", "n1", "--token-file", "-", "--state-dir", "state")
    refused = causeway(*join, stdin=text, **server)
    assert refused.returncode == 6, refused.stderr
    assert secret not in refused.stderr


def test_a_node_joins_and_its_key_is_private(
    causeway: Run, server: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    text = causeway("token", "create", "--cluster", cluster, **server).stdout
    join = (
        "join",
        "--cluster",
        cluster,
        "--node",
        "n1",
        "--token-file",
        "-",
        "--state-dir",
        str(tmp_path / "state"),
    )
    done = causeway(*join, stdin=text, **server)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "state" / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert "n1" in causeway("get", "nodes", "--cluster", cluster, **server).stdout
    assert causeway(*join, stdin=text, **server).returncode == 6


def test_links_are_made_listed_and_deleted(causeway: Run, server: dict[str, str], cluster: str) -> None:
    second = f"{cluster}b"
    document = {
        "apiVersion": "causeway.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": second},
        "spec": {"prefixes": ["172.16.0.0/24"]},
    }
    causeway("apply", "-f", "-", stdin=yaml.safe_dump(document), **server)
    try:
        assert causeway("link", "create", cluster, second, **server).returncode == 0
        assert f"{cluster}-{second}" in causeway("link", "list", **server).stdout
        assert causeway("link", "create", cluster, cluster, **server).returncode == 2
        assert causeway("link", "create", cluster, second, "--mode", "magic", **server).returncode == 2
    finally:
        causeway("link", "delete", f"{cluster}-{second}", **server)
        assert causeway("delete", "cluster", second, **server).returncode == 0


def editor(tmp_path: Path, script: str) -> str:
    file = tmp_path / "editor.py"
    file.write_text(
        "import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n" + script
    )
    return f"python3 {file}"


def test_edit_changes_what_was_edited_and_nothing_when_nothing_was(
    causeway: Run, server: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    swap = editor(tmp_path, "file.write_text(text.replace('prod', 'edited'))\n")
    assert causeway("edit", "cluster", cluster, EDITOR=swap, **server).returncode == 0
    assert "env=edited" in causeway("describe", "cluster", cluster, **server).stdout
    idle = causeway("edit", "cluster", cluster, EDITOR="true", **server)
    assert (idle.returncode, idle.stderr) == (0, "nothing was changed\n")
    assert causeway("edit", "cluster", cluster, EDITOR="false", **server).returncode == 2
    assert causeway("edit", "cluster", cluster, EDITOR="no-such-editor", **server).returncode == 2


def test_a_refused_edit_comes_back_with_the_reason(
    causeway: Run, server: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = (
        f"seen = pathlib.Path({str(seen)!r})\n"
        "seen.write_text(text)\n"
        "file.write_text(text.replace('spec:', 'spec:\\n  colour: red') if 'colour' not in text else text)\n"
    )
    done = causeway("edit", "cluster", cluster, EDITOR=editor(tmp_path, script), **server)
    assert done.returncode == 1
    assert "# Cluster" in seen.read_text()
    assert "unknown field" in seen.read_text()


def test_watch_shows_what_stands_and_what_changes(
    causeway: Run, server: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    CAUSEWAY = [sys.executable, "-m", "api.cli.main"]  # noqa: N806

    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **server}
    words = [*CAUSEWAY, "get", "clusters", cluster, "-w"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("EVENT")
        assert re.match(rf"ADDED +{cluster}", watching.stdout.readline())
        causeway("delete", "cluster", cluster, **server)
        assert re.match(rf"DELETED +{cluster}", watching.stdout.readline())
        watching.send_signal(2)
        assert watching.wait(20) == 130


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("get", "clutser"), 2, "unknown kind 'clutser'"),
        (("get", "clusters", "-o", "xml"), 2, "unknown output 'xml'"),
        (("get", "clusters", "-l", "a =="), 2, "^"),
        (("get", "clusters", "nobody"), 5, "not"),
        (("get", "endpoints", "web"), 2, "CLUSTER/NAMESPACE/NAME"),
        (("apply", "-f", "gone.yaml"), 2, "gone.yaml: No such file"),
        (("apply",), 2, "no document"),
        (("apply", "-f", "-"), 2, "no document"),
        (("rollout", "status", "999999", "--timeout", "1"), 5, "is not there yet"),
        (("serve", "--listen", "8440"), 2, "is not HOST:PORT"),
        (("agent", "--state-dir", "nowhere"), 2, "has not joined"),
        (("agent", "status", "--state-dir", "nowhere"), 5, "no agent has run in nowhere"),
        (("join", "--cluster", "c", "--node", "n", "--token-file", "none"), 2, "none: No such file"),
    ],
)
def test_a_mistake_is_one_clear_message_and_an_exit_code(
    causeway: Run, server: dict[str, str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = causeway(*words, **server)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_yaml_is_said_with_its_line_and_duplicate_keys_are_refused(
    causeway: Run, server: dict[str, str]
) -> None:
    assert "line 2" in causeway("apply", "-f", "-", stdin="a: [1\nb: 2\n", **server).stderr
    twice = causeway("apply", "-f", "-", stdin="kind: Tier\nkind: Tier\n", **server)
    assert twice.returncode == 2
    assert "key 'kind' stands twice" in twice.stderr


def test_an_unreachable_server_a_wrong_token_and_none_at_all(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    away = causeway("get", "tiers", "--server", "http://127.0.0.1:1")
    assert away.returncode == 3
    assert "does not answer" in away.stderr
    wrong = tmp_path / "wrong.token"
    wrong.write_text("abc.def")
    assert causeway("get", "tiers", **{**server, "CAUSEWAY_TOKEN_FILE": str(wrong)}).returncode == 6
    assert causeway("get", "tiers", **{**server, "CAUSEWAY_TOKEN_FILE": ""}).returncode == 6
    assert causeway("get", "tiers", "--server", "ftp://x").returncode == 2
    assert causeway("get", "tiers", "--token-file", "gone").returncode == 2


def test_settings_come_from_a_file_too_and_unknown_keys_are_refused(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        f'server = "{server["CAUSEWAY_SERVER"]}"\ntoken_file = "{server["CAUSEWAY_TOKEN_FILE"]}"\nca_file = "{server["CAUSEWAY_CA_FILE"]}"\n'
    )
    assert causeway("get", "tiers", CAUSEWAY_CONFIG=str(file)).returncode == 0
    file.write_text("colour = 1\n")
    refused = causeway("get", "tiers", CAUSEWAY_CONFIG=str(file))
    assert refused.returncode == 2
    assert "unknown key(s) colour" in refused.stderr


def test_the_port_that_is_taken_is_named(causeway: Run, server: dict[str, str], tmp_path: Path) -> None:
    address = server["CAUSEWAY_SERVER"].removeprefix("https://")
    done = causeway("serve", "--listen", address, "--data-dir", str(tmp_path / "second"))
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_here_and_there(causeway: Run, server: dict[str, str]) -> None:
    assert json.loads(causeway("version", "-o", "json", **server).stdout) == {
        "client": "0.1.0",
        "server": "0.1.0",
    }
    assert "not reached" in causeway("version", CAUSEWAY_SERVER="http://127.0.0.1:1").stdout


def test_names_complete_from_the_server_and_stay_silent_without_it(
    causeway: Run, server: dict[str, str], cluster: str
) -> None:
    def completed(words: str, **environment: str) -> str:
        asked = {
            "_CAUSEWAY_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split())),
        }
        return causeway(**environment, **asked).stdout

    assert "clusters" in completed("causeway get ", **server)
    away = causeway("get", CAUSEWAY_SERVER="http://127.0.0.1:1")
    assert "Traceback" not in away.stderr
    assert cluster
