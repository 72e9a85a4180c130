"""Rights and the audit log as their users see them: a real control plane, the real command line."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TIER = (
    '{"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": "audited"}, "spec": {"order": 7}}'
)


def token_for(causeway: Run, server: dict[str, str], tmp_path: Path, *words: str) -> dict[str, str]:
    """The environment of who was given a new token."""
    made = causeway("apitoken", "create", "bob", *words, **server)
    assert made.returncode == 0, made.stderr
    file = tmp_path / "bob.token"
    file.write_text(made.stdout)
    return {**server, "CAUSEWAY_TOKEN_FILE": str(file)}


def test_a_token_does_what_it_was_given_for_says_so_and_ends_when_it_is_revoked(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    assert causeway("whoami", **server).stdout == "admin\n  owner everywhere\n"
    bob = token_for(causeway, server, tmp_path, "--role", "viewer", "--cluster", "dc1", "--cluster", "aws1")
    assert causeway("whoami", **bob).stdout == "bob\n  viewer of clusters aws1,dc1\n"
    refused = causeway("apply", "-f", "-", stdin=TIER, **bob)
    assert refused.returncode == 6
    assert "bob may not write policy (apply Tier audited)" in refused.stderr
    assert "policy-admin" in refused.stderr
    assert causeway("apitoken", "list", **bob).returncode == 6
    assert causeway("audit", "list", **bob).returncode == 6
    listed = causeway("apitoken", "list", **server)
    assert "viewer of clusters aws1,dc1" in listed.stdout
    text = Path(bob["CAUSEWAY_TOKEN_FILE"]).read_text().strip()
    assert causeway("apitoken", "revoke", text, **server).returncode == 0
    gone = causeway("whoami", **bob)
    assert gone.returncode == 6
    assert "unknown" in gone.stderr
    assert text.partition(".")[2] not in gone.stderr + listed.stdout


def test_a_role_that_there_is_not_is_refused(causeway: Run, server: dict[str, str]) -> None:
    refused = causeway("apitoken", "create", "eve", "--role", "root", **server)
    assert refused.returncode == 2
    assert "/grants/0/role" in refused.stderr
    assert "network-admin" in refused.stderr


def test_the_audit_log_is_read_verified_exported_and_tampering_is_found(
    causeway: Run, server: dict[str, str], tmp_path: Path
) -> None:
    assert causeway("apply", "-f", "-", stdin=TIER, **server).returncode == 0
    listed = causeway("audit", "list", "--subject", "Tier audited", **server)
    assert "Tier audited" in listed.stdout
    assert "admin" in listed.stdout
    lines = causeway("audit", "list", "--subject", "Tier", "-o", "json", **server).stdout.splitlines()
    assert json.loads(lines[-1])["action"] == "create"
    verified = causeway("audit", "verify", **server)
    assert verified.returncode == 0, verified.stderr
    seen = verified.stdout.split()[-1]
    file = tmp_path / "export.jsonl"
    file.write_text(causeway("audit", "export", **server).stdout)
    assert causeway("audit", "verify", "-f", str(file), "--seen", seen).returncode == 0
    assert causeway("audit", "verify", "-f", "-", stdin=file.read_text()).returncode == 0

    for wrong, said in ((seen[:-1] + "x", "made anew"), ("9999:ab", "was cut")):
        found = causeway("audit", "verify", "--seen", wrong, **server)
        assert found.returncode == 7
        assert said in found.stderr
    assert causeway("audit", "verify", "--seen", "x", **server).returncode == 2
    for text, code in (("{}", 2), ("x", 2), (file.read_text().replace("admin", "nobody", 1), 7)):
        file.write_text(text)
        assert causeway("audit", "verify", "-f", str(file)).returncode == code
    assert causeway("audit", "verify", "-f", str(tmp_path / "none")).returncode == 2

    database = Path(server["CAUSEWAY_TOKEN_FILE"]).with_name("intent.db")
    with sqlite3.connect(database, timeout=10) as connection:
        connection.execute("UPDATE audit SET actor = 'mallory' WHERE subject = 'Tier audited'")
    connection.close()
    found = causeway("audit", "verify", **server)
    assert found.returncode == 7
    assert "mallory create Tier audited" in found.stderr
