"""The units of deploy/, started, killed and stopped by a real systemd: a control plane with a node and a relay; and two replicas on PostgreSQL."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.controlplane.postgres import Server
from tests.deploy.booted import Booted, booted

pytestmark = pytest.mark.timeout(240)
URL = "https://127.0.0.1:8440"
READY = """
import ssl, urllib.request
context = ssl._create_unverified_context()
assert b"ready" in urllib.request.urlopen("https://127.0.0.1:8441/readyz", context=context, timeout=5).read()
"""
CLUSTER = {
    "apiVersion": "causeway.dev/v1",
    "kind": "Cluster",
    "metadata": {"name": "dc1"},
    "spec": {"prefixes": ["10.10.0.0/16"]},
}


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Booted]:
    folder = tmp_path / "open"
    folder.mkdir()
    for path in (folder, *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o755)
    with booted(folder) as found:
        yield found


def started(system: Booted, unit: str, *answers: str) -> int:
    """The number of its main process, once it answers."""
    system.run("systemctl", "start", unit)
    system.until(unit, *answers)
    assert system.property(unit, "ActiveState") == "active"
    return int(system.property(unit, "MainPID"))


def must_come_back(system: Booted, unit: str, *answers: str) -> None:
    """After a kill: another process, of the same state."""
    before = system.property(unit, "MainPID")
    system.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit)
    system.until(unit, "sh", "-c", f"test $(systemctl show --value -p MainPID {unit}) -gt {before}")
    system.until(unit, *answers)
    assert system.property(unit, "NRestarts") == "1"


def as_user(port: int, state: str, *words: str) -> tuple[str, ...]:
    """As the administrator, with what the server has left in its folder."""
    folder = f"/var/lib/{state}"
    facts = (f"CAUSEWAY_SERVER=https://127.0.0.1:{port}", f"CAUSEWAY_TOKEN_FILE={folder}/admin.token", f"CAUSEWAY_CA_FILE={folder}/ca.pem")  # fmt: skip
    return ("env", *facts, "causeway", *words)


def joined(system: Booted, made: tuple[str, ...], *words: str) -> None:
    """By a token of the control plane's, which is known by what it has printed."""
    found = re.search(r"[\w-]+\.[\w-]{20,}", system.run(*as_user(8440, "causeway/server", *made)))
    pin = re.search(r"sha256:[0-9a-f]{64}", system.run("cat", "/run/causeway-server.log"))
    assert found
    assert pin
    system.run(
        "causeway", *words, "--server", URL, "--ca-cert-hash", pin.group(), "--cluster", "dc1", "--token-file", "-", text=found.group()
    )  # fmt: skip


def test_a_control_plane_and_a_node(system: Booted) -> None:
    server = "causeway-server"
    alive = as_user(8440, "causeway/server", "get", "clusters")
    pid = started(system, server, *alive)
    assert system.run("stat", "-c", "%U %a", "/var/lib/private/causeway/server").split() == [server, "700"]
    assert system.run("ps", "-o", "user:32=", "-p", str(pid)).strip() == server, "not root"
    system.run(*as_user(8440, "causeway/server", "apply", "-f", "-"), text=json.dumps(CLUSTER))
    system.run("mkdir", "-p", "/var/lib/causeway/agent")
    assert system.tried("systemctl", "start", "causeway-agent").returncode == 0
    assert system.property("causeway-agent", "ConditionResult") == "no", "it has not joined"
    node = ("--node", "n1", "--address", "192.0.2.1", "--pod-prefix", "10.10.1.0/24", "--state-dir", "/var/lib/causeway/agent")  # fmt: skip
    joined(system, ("token", "create", "--cluster", "dc1"), "join", *node)
    enforced = ("causeway", "agent", "status", "--state-dir", "/var/lib/causeway/agent")
    started(system, "causeway-agent", *enforced)
    must_come_back(system, "causeway-agent", *enforced)
    must_come_back(system, server, *alive)
    system.until("causeway-agent", *enforced)
    system.run("systemctl", "stop", server)
    assert system.property(server, "Result") == "success", "a stop is no failure"
    system.run("systemctl", "start", server)
    assert "dc1" in system.until(server, *alive), "the state is where it was"


def test_a_relay_runs_as_a_user_of_its_own(system: Booted) -> None:
    started(system, "causeway-server", *as_user(8440, "causeway/server", "get", "clusters"))
    system.run(*as_user(8440, "causeway/server", "apply", "-f", "-"), text=json.dumps(CLUSTER))
    made = ("relay", "create", "dc1/r1", "--name", "127.0.0.1")
    joined(
        system, made, "relay", "join", "--name", "r1", "--state-dir", "/var/lib/causeway/relay"
    )  # fmt: skip
    ready = ("/opt/venv/bin/python", "-c", READY)
    pid = started(system, "causeway-relay", *ready)
    assert system.run("ps", "-o", "user:32=", "-p", str(pid)).strip() == "causeway-relay", "not root"
    must_come_back(system, "causeway-relay", *ready)


@pytest.mark.postgresql
def test_two_replicas_on_postgresql(
    system: Booted, make_server: Callable[[], Server], tmp_path: Path
) -> None:
    """Each by an instance of the unit, with the secret that systemd hands to it; the URL, which may hold a password, is in a file of root's."""
    server = make_server()
    server.make()
    (tmp_path / "open").chmod(0o777)
    server.start(f"unix_socket_directories={server.folder},{tmp_path / 'open'}")
    ports = (8451, 8452)
    refused = system.tried("systemctl", "start", "causeway-server@8451")
    assert refused.returncode != 0, "there is no server.env"
    system.run("systemctl", "reset-failed", "causeway-server@8451")
    for name, text in (
        ("ca.secret", "5" * 64),
        ("server.env", "CAUSEWAY_DATABASE_URL=postgresql://postgres@/postgres?host=/opt/open\n"),
    ):
        system.run("sh", "-c", f"umask 077; cat >/etc/causeway/{name}", text=text)
    for port in ports:
        started(
            system, f"causeway-server@{port}", *as_user(port, f"causeway/server-{port}", "get", "clusters")
        )
    system.run(
        *as_user(ports[0], f"causeway/server-{ports[0]}", "apply", "-f", "-"), text=json.dumps(CLUSTER)
    )
    for port in ports:
        said = system.until(
            "its change",
            "sh",
            "-c",
            '"$@" | grep dc1',
            "sh",
            *as_user(port, f"causeway/server-{port}", "get", "clusters"),
        )
        assert "dc1" in said
        secret = f"/var/lib/private/causeway/server-{port}/ca.secret"
        assert system.run("stat", "-c", "%U %a", secret).split() == ["causeway-server", "600"]
