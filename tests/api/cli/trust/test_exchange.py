"""A node of before TLS: its credential is given for a certificate, once; plain HTTP needs to be asked for."""

import re
import subprocess
from pathlib import Path

from tests.api.cli.conftest import CAUSEWAY, Run, causeway
from tests.api.cli.trust.test_join import CLUSTER, WHO

__all__ = ["causeway"]


def served(folder: Path, *flags: str) -> "subprocess.Popen[str]":
    words = [*CAUSEWAY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder), *flags]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    found = re.search(r"https?://[^\s/]+", line := process.stderr.readline())
    assert found, line
    return found.group()


def test_a_credential_of_before_tls_is_given_for_a_certificate_once(causeway: Run, tmp_path: Path) -> None:
    folder, state = tmp_path / "server", tmp_path / "state"
    user = {"CAUSEWAY_TOKEN_FILE": str(folder / "admin.token")}
    with served(folder, "--insecure-http") as before:
        plain = url_of(before)
        assert plain.startswith("http://")
        assert causeway("apply", "-f", "-", "--server", plain, stdin=CLUSTER, **user).returncode == 0
        token = causeway("token", "create", "--cluster", "dc1", "--server", plain, **user).stdout
        joined = causeway("join", *WHO, "--server", plain, "--token-file", "-", "--state-dir", str(state), stdin=token)  # fmt: skip
        assert joined.returncode == 0, joined.stderr
        before.terminate()
    credential = (state / "credential").read_text()
    with served(folder) as after:
        url, ca = url_of(after), str(folder / "ca.pem")
        words = ("join", *WHO, "--exchange", "--server", url, "--ca-file", ca, "--state-dir", str(state))
        assert causeway(*words).returncode == 0
        assert not (state / "credential").exists()
        assert (state / "identity.pem").stat().st_mode & 0o777 == 0o600
        assert f'server = "{url}"' in (state / "agent.toml").read_text()
        (state / "credential").write_text(credential)
        assert causeway(*words).returncode == 6
        after.terminate()


def test_plain_http_beyond_loopback_has_to_be_asked_for(causeway: Run, tmp_path: Path) -> None:
    refused = causeway("serve", "--listen", "0.0.0.0:0", "--insecure-http", "--data-dir", str(tmp_path / "d"))
    assert refused.returncode == 1
    assert "serves loopback only" in refused.stderr
    assert "--insecure-http-anywhere" in refused.stderr
