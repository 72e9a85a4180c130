"""TLS of real processes: an operator's certificate that is renewed, a customer's authority, replicas that share a secret, a revocation while the
database is away."""

import asyncio
import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from controlplane.pki import x509
from nodeagent.control import csr, identity
from tests.controlplane.postgres import Server
from tests.deploy.test_replicas import Replica, at, free_ports, is_ready, until
from tests.interop.test_chaos import Follower, document
from tests.scenarios.served import ROOT, Served, served

NOW = datetime.now(UTC)  # noqa: TID251 - certificates for processes that read the machine's clock
AUTHORITY = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issuer]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def within(seconds: float, is_so: Callable[[], object]) -> None:
    """Ask again until it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not become so"
        subprocess.run(["sleep", "0.1"], check=True)


def causeway(*words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    command = [sys.executable, "-m", "api.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean, timeout=60)


def serial_of(server: Served) -> str:
    """Of the certificate that a new connection is shown; empty: none was."""
    with server.connect() as line:
        return x509.facts_of(ssl.DER_cert_to_PEM_cert(line.getpeercert(binary_form=True) or b"")).serial


def test_an_operators_certificate_that_is_renewed_is_shown_without_a_restart(tmp_path: Path) -> None:
    root = x509.make_root("Operator", NOW)
    issuer = x509.make_intermediate(root, "Operator", "operator.example", NOW)
    certificate, key, above, data = (tmp_path / name for name in ("tls.pem", "tls.key", "root.pem", "data"))
    data.mkdir()
    above.write_text(root.certificate)

    def made() -> tuple[str, str, str]:
        fresh = x509.make_server(issuer, ["127.0.0.1"], "operator.example", NOW, timedelta(days=1))
        return fresh.certificate + issuer.certificate, fresh.key, x509.facts_of(fresh.certificate).serial

    first, second = made(), made()
    certificate.write_text(first[0])
    key.write_text(first[1])
    with served(
        data, "--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(above)
    ) as server:
        assert serial_of(server) == first[2]
        with server.client() as standing:
            assert standing.post("/agent/v1/report", json={"revision": 1}).status_code == 204
            certificate.write_text(second[0])  # the key is another one's still, as in the middle of a renewal
            within(10, lambda: "the server's certificate stays as it is" in server.log)
            assert serial_of(server) == first[2]
            key.write_text(second[1])
            within(10, lambda: serial_of(server) == second[2])
            assert standing.post("/agent/v1/report", json={"revision": 1}).status_code == 204, "as it stood"
        with server.client() as fresh:
            assert fresh.post("/agent/v1/report", json={"revision": 1}).status_code == 204
        assert "Traceback" not in server.log


def openssl(folder: Path, *words: str) -> str:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def customers_authority(folder: Path) -> None:
    """root.pem, issuer.pem and issuer.key, as a customer's own tools make them."""
    folder.mkdir()
    (folder / "ca.conf").write_text(AUTHORITY)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "ca.conf"]
    openssl(folder, "req", "-x509", *key, "-extensions", "root", "-days", "90", "-subj", "/CN=Customer root", "-keyout", "root.key", "-out", "root.pem")  # fmt: skip
    openssl(folder, "req", *key, "-subj", "/CN=Customer issuing", "-keyout", "issuer.key", "-out", "issuer.csr")  # fmt: skip
    openssl(folder, "x509", "-req", "-in", "issuer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "60", "-extfile", "ca.conf", "-extensions", "issuer", "-out", "issuer.pem")  # fmt: skip


def test_a_customers_authority_is_imported_and_takes_over_without_a_node_being_cut_off(
    tmp_path: Path,
) -> None:
    customer, data = tmp_path / "customer", tmp_path / "data"
    data.mkdir()
    customers_authority(customer)
    files = ("--root", customer / "root.pem", "--certificate", customer / "issuer.pem", "--key")
    with served(data) as server, ExitStack() as stack:
        user = {"CAUSEWAY_SERVER": server.url, "CAUSEWAY_TOKEN_FILE": str(data / "admin.token"), "CAUSEWAY_CA_FILE": str(data / "ca.pem")}  # fmt: skip
        (server.state / "agent.toml").write_text(f'server = "{server.url}"\ncluster = "dc1"\nnode = "n1"\n')
        follower = Follower(server.state)
        stack.callback(follower.kill)
        follower.start()
        wrong = causeway("ca", "import", *files, customer / "root.key", "--data-dir", data)
        assert wrong.returncode == 2
        assert "does not belong to the intermediate's certificate" in wrong.stderr
        done = causeway("ca", "import", *files, customer / "issuer.key", CAUSEWAY_DATABASE_URL=f"sqlite:{data / 'intent.db'}")  # fmt: skip
        assert done.returncode != 0, "the secret is not in the default directory"
        done = causeway("ca", "import", *files, customer / "issuer.key", "--data-dir", data)
        assert done.returncode == 0, done.stderr
        again = causeway("ca", "import", *files, customer / "issuer.key", "--data-dir", data)
        assert "a rotation is under way" in again.stderr
        new = done.stdout.split()[1]
        for step in ("issue", "drop"):
            within(90, lambda step=step: taken(server, step))  # type: ignore[misc]
        shown = json.loads(causeway("ca", "show", "-o", "json", **user).stdout)
        assert [item["id"] for item in shown["items"]] == [new]
        assert [(node["node"], node["authority"]) for node in shown["nodes"]] == [("dc1/n1", new)]
        kept = identity.load(server.state)
        assert kept is not None
        assert kept.issuer == new
        chain = ["-CAfile", "root.pem", "-untrusted", str(server.state / "identity.pem"), str(server.state / "identity.pem")]  # fmt: skip
        assert openssl(customer, "verify", "-purpose", "sslclient", *chain).endswith(": OK\n")
        with server.client() as node:
            assert node.post("/agent/v1/report", json={"revision": 1}).status_code == 204
        assert "Traceback" not in server.log + (server.state / "log").read_text()


def taken(server: Served, step: str) -> bool:
    """Whether a step of the rotation was taken; a change wakes streams before their keep-alive, so that nodes hear of it soon."""
    with server.user() as user:
        answer = user.post("/api/v1/ca/rotate", json={"step": step})
        tier = document("Tier", "nudge", {"order": secrets.randbelow(100_000)})
        assert user.post("/api/v1/apply", json={"items": [tier]}).status_code == 200
    assert answer.status_code in (200, 409), answer.text
    return answer.status_code == 200


@pytest.fixture
async def pair(
    make_server: Callable[[], Server], tmp_path: Path
) -> AsyncIterator[tuple[Server, list[Replica]]]:
    """Two replicas on a PostgreSQL, of one secret."""
    server, secret = make_server(), secrets.token_hex(32)
    await asyncio.to_thread(server.make)
    await asyncio.to_thread(server.start)
    url = f"postgresql://postgres@/postgres?host={server.folder}"
    replicas = [Replica(port, tmp_path / f"replica{port}", url) for port in free_ports(2)]
    try:
        for replica in replicas:
            replica.prepare(secret)
            replica.start()
        for replica in replicas:
            await until(lambda one=replica: is_ready(at(one), one))  # type: ignore[misc]
        yield server, replicas
    finally:
        for replica in replicas:
            if replica.process is not None and replica.process.poll() is None:
                await asyncio.to_thread(replica.end)


async def joined(replica: Replica, folder: Path, name: str, place: int) -> Path:
    """A node's state directory."""
    headers = {"Authorization": f"Bearer {replica.token}"}
    state, asked = folder / name, await asyncio.to_thread(csr.request)
    state.mkdir()
    async with httpx.AsyncClient(base_url=at(replica), headers=headers, verify=replica.trust) as api:
        items = [document("Cluster", "dc1", {"prefixes": ["10.10.0.0/16"]})]
        assert (await api.post("/api/v1/apply", json={"items": items})).status_code == 200
        token = (await api.post("/api/v1/jointokens", json={"cluster": "dc1"})).json()["token"]
        body = {"token": token, "cluster": "dc1", "node": name, "csr": asked.csr, "addresses": [f"192.0.2.{place}"], "podPrefixes": []}  # fmt: skip
        answer = await api.post("/agent/v1/join", json=body)
    assert answer.status_code == 201, answer.text
    identity.save(state, asked.key, json.loads(answer.content))
    return state


async def streamed(replica: Replica, state: Path) -> int:
    """The status that a node's stream begins with."""
    async with (
        httpx.AsyncClient(base_url=at(replica), verify=identity.context(state), timeout=10) as http,
        http.stream("GET", "/agent/v1/stream") as answer,
    ):
        return answer.status_code


@pytest.mark.postgresql
async def test_replicas_of_one_secret_know_each_others_nodes_and_one_of_another_does_not_start(
    pair: tuple[Server, list[Replica]], tmp_path: Path
) -> None:
    _, (one, other) = pair
    state = await joined(one, tmp_path, "n1", 1)
    assert [await streamed(replica, state) for replica in (one, other)] == [200, 200]
    assert (one.folder / "ca.pem").read_bytes() == (other.folder / "ca.pem").read_bytes()
    stranger = Replica(free_ports(1)[0], tmp_path / "stranger", one.database_url)
    stranger.prepare(secrets.token_hex(32))
    stranger.start()
    assert stranger.process is not None
    assert await asyncio.to_thread(stranger.process.wait, 30) == 1
    said = (tmp_path / "stranger.log").read_text()
    assert "is not the secret that this database's certificate authority is kept under" in said
    assert "hint: copy ca.secret (0600)" in said
    assert "Traceback" not in said
    assert [await streamed(replica, state) for replica in (one, other)] == [200, 200]


@pytest.mark.postgresql
async def test_a_revocation_holds_while_the_database_is_away(
    pair: tuple[Server, list[Replica]], tmp_path: Path
) -> None:
    server, (one, other) = pair
    gone, kept = await joined(one, tmp_path, "n1", 1), await joined(other, tmp_path, "n2", 2)
    headers = {"Authorization": f"Bearer {one.token}"}
    async with httpx.AsyncClient(base_url=at(one), headers=headers, verify=one.trust) as api:
        answer = await api.post("/api/v1/ca/revoke", json={"cluster": "dc1", "node": "n1"})
        assert answer.status_code == 204

    async def is_out() -> bool:
        return await streamed(other, gone) == 401

    await until(is_out, 5)
    await asyncio.to_thread(server.stop, "immediate")
    for _ in range(3):
        for replica in (one, other):
            assert await streamed(replica, gone) == 401
            assert await streamed(replica, kept) == 200
        await asyncio.sleep(0.5)
    await asyncio.to_thread(server.start)
    for replica in (one, other):
        await until(lambda one=replica: is_ready(at(one), one))  # type: ignore[misc]
        assert (await streamed(replica, gone), await streamed(replica, kept)) == (401, 200)
