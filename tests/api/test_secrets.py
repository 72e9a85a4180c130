"""No secret is anywhere but where it was given: not in the database, not in the log, not in an answer of later."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from api.rest.app import application
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings
from tests.controlplane.pki.conftest import request_of

CLUSTER = {
    "apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.10.0.0/16"]},
}  # fmt: skip


def database_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("i.db*"))


async def test_secrets_are_not_kept_nor_logged_nor_told_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/i.db")
    secrets: list[str] = []
    answers: list[str] = []
    async with ControlPlane.open(settings, SystemClock()) as plane:
        folder = tmp_path / "server"
        folder.mkdir()
        await plane.certificates.authorities.open(folder, plane.clock.now())
        admin = (await plane.access.create_token("admin")).text
        secrets.append(admin)
        transport = httpx.ASGITransport(application(plane), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {admin}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:

            async def ask(method: str, path: str, body: Any = None, token: str = "") -> Any:
                more = {"Authorization": f"Bearer {token}"} if token else {}
                answer = await client.request(method, path, json=body, headers=more)
                answers.append(answer.text)
                return answer.json() if answer.content else None

            await ask("POST", "/api/v1/clusters", CLUSTER)
            ci = await ask("POST", "/api/v1/apitokens", {"name": "ci", "grants": [{"role": "viewer"}]})
            answers.pop()
            joins = [(await ask("POST", "/api/v1/jointokens", {"cluster": "dc1"}))["token"] for _ in range(2)]
            del answers[-2:]
            node = {
                "cluster": "dc1",
                "node": "n1",
                "addresses": ["192.0.2.1"],
                "podPrefixes": ["10.10.1.0/24"],
            }
            credential = (await ask("POST", "/agent/v1/join", {**node, "token": joins[0]}))["credential"]
            answers.pop()
            secrets += [ci["token"], *joins, credential]
            for token in secrets:  # each where it is good, and where it is not
                await ask("GET", "/api/v1/whoami", token=token)
                await ask("POST", "/agent/v1/report", {"revision": 1}, token=token)
                await ask("POST", "/agent/v1/join", {**node, "node": "n2", "token": token})
                await ask("POST", "/api/v1/apply", {"items": [{"token": "x"}]}, token=token + "x")
            csr = request_of(ec.generate_private_key(ec.SECP256R1()))
            await ask("POST", "/agent/v1/join", {**node, "token": joins[1], "csr": csr})
            for path in ("apitokens", "jointokens", "audit", "nodes", "ca", "ca/status"):
                await ask("GET", f"/api/v1/{path}")
            structlog.get_logger().info("done", plane=repr(plane.settings))
    kept = database_in(tmp_path)
    heard = capsys.readouterr()
    log = "\n".join((heard.out, heard.err, caplog.text))
    sealing = (folder / "ca.secret").read_text().strip()
    hidden = [token.partition(".")[2] for token in secrets]
    assert all(len(part) > 20 for part in hidden)
    for secret in (*hidden, sealing):
        assert secret.encode() not in kept
        assert secret not in log
        assert not [answer for answer in answers if secret in answer]
    key = re.compile(rb"PRIVATE " + rb"KEY")
    assert not key.search(kept)
    assert not key.search(log.encode())
    assert hidden[0].encode() not in kept
    assert secrets[0].partition(".")[0].encode() in kept, "its id is, so the file was read at the right place"
