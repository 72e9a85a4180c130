"""`causeway join` and `causeway ca` against a real server with TLS."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.api.cli.conftest import Run, causeway, server

__all__ = ["causeway", "server"]
CLUSTER = (
    "apiVersion: causeway.dev/v1\nkind: Cluster\nmetadata: {name: dc1}\nspec: {prefixes: [10.10.0.0/16]}\n"
)
WHO = ("--cluster", "dc1", "--node", "n1", "--address", "192.0.2.1", "--pod-prefix", "10.10.1.0/24")


@pytest.fixture
def token(causeway: Run, server: dict[str, str]) -> str:
    assert causeway("apply", "-f", "-", stdin=CLUSTER, **server).returncode == 0
    return causeway("token", "create", "--cluster", "dc1", **server).stdout.strip()


def unpinned(server: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in server.items() if name != "CAUSEWAY_CA_FILE"}


def test_a_node_joins_by_the_pin_and_openssl_takes_its_chain(
    causeway: Run, server: dict[str, str], token: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    told = json.loads(causeway("ca", "show", "-o", "json", **server).stdout)
    pin = told["items"][0]["hash"]
    joined = causeway("join", *WHO, "--ca-cert-hash", pin, "--state-dir", str(state), **unpinned(server), CAUSEWAY_JOIN_TOKEN=token)  # fmt: skip
    assert joined.returncode == 0, joined.stderr
    assert (state / "identity.pem").stat().st_mode & 0o777 == 0o600
    chain = ["-CAfile", state / "ca.pem", "-untrusted", state / "identity.pem", state / "identity.pem"]
    done = subprocess.run(["openssl", "verify", "-purpose", "sslclient", *chain], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout.endswith(": OK\n"), done.stderr
    text = subprocess.run(["openssl", "x509", "-in", state / "identity.pem", "-noout", "-ext", "subjectAltName"], capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "URI:spiffe://causeway.internal/cluster/dc1/node/n1" in text
    assert "dc1/n1" in causeway("ca", "show", **server).stdout
    assert "dc1/n1 from 127.0.0.1" in causeway("token", "list", **server).stdout
    assert causeway("ca", "revoke", "dc1/n1", **server).returncode == 0
    assert causeway("ca", "revoke", "dc1/nobody", **server).returncode == 5


def test_a_server_that_is_not_pinned_is_not_given_the_token(
    causeway: Run, server: dict[str, str], token: str, tmp_path: Path
) -> None:
    words = ("join", *WHO, "--state-dir", str(tmp_path / "s"), "--token-file", "-")
    refused = causeway(*words, stdin=token, **unpinned(server))
    assert refused.returncode == 2
    assert "is not pinned" in refused.stderr
    other = causeway(*words, "--ca-cert-hash", "sha256:" + "0" * 64, stdin=token, **unpinned(server))
    assert "somebody may be in between" in other.stderr
    plain = causeway(*words, "--server", "http://192.0.2.1:1", stdin=token)
    assert "plain HTTP to another machine" in plain.stderr
    missing = causeway("join", *WHO, "--state-dir", str(tmp_path / "s"), **server)
    assert "there is no join token" in missing.stderr
    assert causeway(*words, stdin=token, **server).returncode == 0


def test_a_token_comes_with_what_to_paste(causeway: Run, server: dict[str, str], token: str) -> None:
    words = ("token", "create", "--cluster", "dc1", "--node", "n7", "--os", "linux", "--from", "192.0.2.0/24")
    text = causeway(*words, "--commands", **server).stdout
    secret, shell, windows = text.splitlines()
    assert re.fullmatch(r"[0-9a-f]{12}\.\S+", secret)
    assert f"printf %s '{secret}' | causeway join --server {server['CAUSEWAY_SERVER']}" in shell
    assert "--node n7 --token-file - --ca-cert-hash sha256:" in shell
    assert windows.startswith(f"PowerShell: '{secret}' |")
    assert "node linux 192.0.2.0/24 n7" in causeway("token", "list", **server).stdout
    assert causeway("token", "create", "--cluster", "dc1", "--os", "beos", **server).returncode == 2


def test_a_rotation_with_nobody_to_wait_for_goes_through(causeway: Run, server: dict[str, str]) -> None:
    nodes = json.loads(causeway("get", "nodes", "-o", "json", **server).stdout)["items"]
    for node in nodes:
        causeway("delete", "node", f"dc1/{node['metadata']['name']}", **server)
    early = causeway("ca", "rotate", "--step", "issue", **server)
    assert early.returncode == 7
    assert causeway("apply", "-f", "-", stdin=CLUSTER, **server).returncode == 0
    for step in ("prepare", "issue", "drop"):
        done = causeway("ca", "rotate", "--step", step, **server)
        assert done.returncode == 0, (step, done.stderr)
        roots = len(re.findall("BEGIN", Path(server["CAUSEWAY_CA_FILE"]).read_text()))
        assert roots == (1 if step == "drop" else 2)
        text = causeway("token", "create", "--cluster", "dc1", "--commands", **server).stdout
        (pin,) = set(re.findall(r"sha256:\w+", text))
        reached = causeway("get", "nodes", **unpinned(server), CAUSEWAY_CA_HASH=pin)
        assert reached.returncode == 0, (step, reached.stderr)
