"""Real packets through the real programs: what a policy's user would notice."""

import subprocess
from typing import Any

import pytest

from federation.compiler.compiler import compile_tables
from federation.identities import IdentityNumber
from federation.policy.parties import labels_of
from federation.policy.world import world_of
from federation.resources.codec import decode
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.upkeep import generations
from nodeagent.dataplane.linux.hooks import Hooks
from nodeagent.drivers import Attachment, DesiredPolicy

pytestmark = pytest.mark.kernel
APPS = {1: "web", 2: "api", 3: "db"}
DB_FROM_API = {
    "selector": "app == 'db'", "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'api'"}, "destination": {"ports": [8080]}}],
}  # fmt: skip


def document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def desired(node: Any, *policies: dict[str, Any]) -> DesiredPolicy:
    endpoints = [
        decode(document("Endpoint", f"e{n}", {"node": "n", "addresses": [str(node.address(n))], "interface": f"pod{n}"}, cluster="dc1", namespace="shop", labels={"app": app}))
        for n, app in APPS.items()
    ]  # fmt: skip
    identities = [
        decode(document("Identity", str(256 + n), {"number": 256 + n, "labels": labels_of(e)}))
        for n, e in enumerate(endpoints)
    ]
    made = [decode(document("GlobalNetworkPolicy", f"p{n}", spec)) for n, spec in enumerate(policies)]
    world = world_of([*endpoints, *identities, *made])
    tables = compile_tables(world, world.endpoints)
    return DesiredPolicy(
        tables=tables,
        addresses={node.address(n + 1): IdentityNumber(256 + n) for n in range(3)},
        attachments=tuple(
            Attachment(endpoint=e.key.path, interface=e.spec.interface, class_number=tables.subjects[e.key], identity=IdentityNumber(256 + n), addresses=e.spec.addresses)
            for n, e in enumerate(endpoints)
        ),
    )  # fmt: skip


@pytest.fixture
def driver(node: Any) -> Any:
    return EbpfDriver(node.pin_dir, node.state_dir)


def converge(driver: Any, node: Any, wanted: DesiredPolicy) -> tuple[Any, ...]:
    with node.entered():
        reports: tuple[Any, ...] = driver.converge(wanted)
    return reports


def matrix(node: Any, kind: str = "tcp") -> set[str]:
    return {f"{a}{b}" for a in APPS for b in APPS if a != b and node.reaches(a, b, kind)}


ALL = {"12", "13", "21", "23", "31", "32"}


def test_a_policy_lets_through_what_it_allows_and_nothing_else(node: Any, driver: Any) -> None:
    for number in APPS:
        node.serve(number)
    assert converge(driver, node, desired(node)) == ()
    assert matrix(node) == matrix(node, "udp") == ALL
    assert converge(driver, node, desired(node, DB_FROM_API)) == ()
    assert matrix(node) == ALL - {"13"}
    assert matrix(node, "udp") == ALL - {"13", "23"}
    assert converge(driver, node, desired(node)) == ()
    assert matrix(node) == ALL


def test_a_long_list_is_walked_to_its_end_and_its_answer_is_remembered(node: Any, driver: Any) -> None:
    node.serve(3)
    rules = [
        {"action": "Deny", "protocol": "TCP", "source": {"nets": [f"172.16.{n}.0/24"]}} for n in range(150)
    ]
    last = {"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'api'"}}
    assert converge(driver, node, desired(node, {"selector": "app == 'db'", "ingress": [*rules, last]})) == ()
    for _ in range(2):
        assert node.reaches(2, 3)
        assert not node.reaches(1, 3)


BIG = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.7)
s.sendto(b"x" * 2000, (sys.argv[1], 8080))
try:
    print(len(s.recv(4096)))
except OSError:
    print(0)
"""


def test_a_datagram_in_fragments_arrives_where_one_in_a_piece_would_and_nowhere_else(
    node: Any, driver: Any
) -> None:
    def answered(source: int) -> int:
        words = [
            "nsenter",
            f"--net=/run/netns/{node.pod(source)}",
            "python3",
            "-c",
            BIG,
            str(node.address(3)),
        ]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    node.serve(3)
    udp = {
        "action": "Allow",
        "protocol": "UDP",
        "source": {"selector": "app == 'api'"},
        "destination": {"ports": [8080]},
    }
    converge(driver, node, desired(node, {"selector": "app == 'db'", "ingress": [udp]}))
    assert (answered(2), answered(1)) == (2000, 0)


LIVE = """
import socket, sys
s = socket.create_connection((sys.argv[1], 8080), timeout=2)
s.settimeout(0.7)
for line in sys.stdin:
    try:
        s.send(b"x")
        print("ok" if s.recv(10) else "closed", flush=True)
    except OSError:
        print("cut", flush=True)
"""


class Live:
    """One TCP connection that is asked to ping."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ping(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("ping\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def live(node: Any, source: int, destination: int) -> Live:
    return Live(node.start(source, "python3", "-c", LIVE, str(node.address(destination))))


def test_a_live_connection_is_cut_by_a_new_policy_and_an_allowed_one_goes_on(node: Any, driver: Any) -> None:
    node.serve(3)
    converge(driver, node, desired(node))
    denied, allowed = live(node, 1, 3), live(node, 2, 3)
    assert (denied.ping(), allowed.ping()) == ("ok", "ok")
    converge(driver, node, desired(node, DB_FROM_API))
    assert (denied.ping(), allowed.ping()) == ("cut", "ok")
    assert denied.ping() == "cut"


def test_a_restarted_driver_adopts_what_stands_and_cuts_nothing(node: Any, driver: Any) -> None:
    node.serve(3)
    wanted = desired(node, DB_FROM_API)
    converge(driver, node, wanted)
    connection = live(node, 2, 3)
    assert connection.ping() == "ok"
    driver.close()
    assert connection.ping() == "ok"
    pins = sorted(path.name for path in node.pin_dir.iterdir())
    restarted = EbpfDriver(node.pin_dir, node.state_dir)
    assert converge(restarted, node, wanted) == ()
    assert connection.ping() == "ok"
    assert not node.reaches(1, 3)
    assert sorted(path.name for path in node.pin_dir.iterdir()) == pins


ONE_WAY = {"selector": "all()", "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'api'"}}], "egress": [{"action": "Allow", "protocol": "TCP", "destination": {"selector": "app == 'db'"}}], "types": ["Ingress", "Egress"]}  # fmt: skip
"""Nothing may open the other way, so that the middle of a connection that is not known is refused."""


def upgraded(node: Any, driver: Any) -> EbpfDriver:
    """The driver of a release whose programs are not those that stand."""
    driver.close()
    driver.generation.rename(node.pin_dir / "older")
    return EbpfDriver(node.pin_dir, node.state_dir)


def test_an_upgrade_of_the_programs_keeps_the_connections(node: Any, driver: Any) -> None:
    node.serve(3)
    wanted = desired(node, ONE_WAY)
    converge(driver, node, wanted)
    connection = live(node, 2, 3)
    assert connection.ping() == "ok"
    newer = upgraded(node, driver)
    assert converge(newer, node, wanted) == ()
    assert [path.name for path in generations.folders(node.pin_dir)] == [newer.generation.name]
    assert connection.ping() == "ok"
    assert not node.reaches(1, 3)
    assert converge(newer, node, desired(node, DB_FROM_API, {**ONE_WAY, "order": 1})) == ()
    assert connection.ping() == "ok"
    assert converge(newer, node, desired(node, {"selector": "app == 'db'", "ingress": [{"action": "Deny"}]})) == ()  # fmt: skip
    assert connection.ping() == "cut"


def test_what_an_upgrade_no_longer_allows_is_cut_by_it(node: Any, driver: Any) -> None:
    """Epochs go on above the older programs': else a connection of theirs would look fresh."""
    node.serve(3)
    converge(driver, node, desired(node))
    connection = live(node, 1, 3)
    assert connection.ping() == "ok"
    newer = upgraded(node, driver)
    assert converge(newer, node, desired(node, DB_FROM_API)) == ()
    assert connection.ping() == "cut"
    assert node.reaches(2, 3)


def test_an_upgrade_to_connections_of_another_layout_begins_them_anew_and_says_so(
    node: Any, driver: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    node.serve(3)
    wanted = desired(node, ONE_WAY)
    converge(driver, node, wanted)
    connection = live(node, 2, 3)
    assert connection.ping() == "ok"
    newer = upgraded(node, driver)
    link = node.pin_dir / "older" / generations.SHAPE
    link.unlink()
    link.symlink_to("0123456789abcdef 28")
    assert converge(newer, node, wanted) == ()
    assert "connections begin anew" in capsys.readouterr().out
    assert connection.ping() == "cut", "its middle alone is not enough under this policy"
    assert node.reaches(2, 3)


def test_pins_that_are_not_whole_are_made_anew_and_what_hung_goes_on_meanwhile(
    node: Any, driver: Any
) -> None:
    node.serve(3)
    wanted = desired(node, ONE_WAY)
    converge(driver, node, wanted)
    connection = live(node, 2, 3)
    assert connection.ping() == "ok"
    driver.close()
    for name in ("to_endpoint", "identity_rows"):
        (driver.generation / name).unlink()
    assert connection.ping() == "ok"
    restarted = EbpfDriver(node.pin_dir, node.state_dir)
    assert converge(restarted, node, wanted) == ()
    assert connection.ping() == "ok"
    assert not node.reaches(1, 3)
    assert [path.name for path in generations.folders(node.pin_dir)] == [driver.generation.name]


def test_a_pod_cannot_send_from_an_address_that_is_not_its_own(node: Any, driver: Any) -> None:
    node.serve(3)
    subprocess.run(["ip", "-n", node.pod(1), "address", "add", "10.10.1.99/32", "dev", "eth0"], check=True)
    subprocess.run(["ip", "-n", node.name, "route", "add", "10.10.1.99/32", "dev", "pod1"], check=True)
    ask = "import socket; s = socket.socket(); s.settimeout(0.7); s.bind(('10.10.1.99', 0)); print(s.connect_ex(('10.10.1.3', 8080)))"
    command = ["nsenter", f"--net=/run/netns/{node.pod(1)}", "python3", "-c", ask]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "0"
    converge(driver, node, desired(node))
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() != "0"
    assert node.reaches(1, 3)


def test_a_missing_interface_is_reported_and_the_others_are_enforced(node: Any, driver: Any) -> None:
    node.serve(3)
    subprocess.run(["ip", "-n", node.name, "link", "del", "pod2"], check=True)
    (report,) = converge(driver, node, desired(node, DB_FROM_API))
    assert not report.is_ok
    assert "pod2" in report.message
    assert not node.reaches(1, 3)


def test_withdrawing_takes_our_filters_and_pins_and_nothing_foreign(node: Any, driver: Any) -> None:
    run = ["tc", "-n", node.name]
    subprocess.run([*run, "qdisc", "add", "dev", "pod1", "clsact"], check=True)
    foreign = [
        *run,
        "filter",
        "add",
        "dev",
        "pod1",
        "ingress",
        "prio",
        "60000",
        "bpf",
        "bytecode",
        "1,6 0 0 0,",
    ]
    subprocess.run(foreign, check=True)
    converge(driver, node, desired(node, DB_FROM_API))
    with node.entered():
        assert len(Hooks(node.pin_dir).look().ours) == 3
        driver.withdraw()
        assert Hooks(node.pin_dir).look().ours == {}
    assert not node.pin_dir.exists()
    left = subprocess.run(
        [*run, "filter", "show", "dev", "pod1", "ingress"], capture_output=True, text=True, check=True
    ).stdout
    assert "60000 bpf" in left
