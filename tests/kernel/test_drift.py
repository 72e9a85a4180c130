"""What somebody alters by hand is right again after the next resync, and is told; what is not ours is left alone."""

import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from federation.identities import IdentityNumber
from federation.policy.tables import CompiledRule, RuleAction, Tables
from nodeagent.dataplane.ebpf import bpf, layout, loader
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.plan import MARK
from nodeagent.dataplane.linux import barriers, links
from nodeagent.dataplane.linux.hooks import Hooks
from nodeagent.drivers import DRIFT, Attachment, DesiredPolicy

pytestmark = pytest.mark.kernel
EPOCH = slice(16, 20)
COMPARED = ("identity_rows", "prefix_rows", "prefixes", "addresses", "more_addresses", "endpoints")


def desired(node: Any, *, action: RuleAction = RuleAction.ALLOW) -> DesiredPolicy:
    """Pods 2 and 3; what an identity's bit, or a prefix's, lets in."""
    rules = (
        CompiledRule(action=action, bit=3),
        CompiledRule(action=RuleAction.ALLOW, net_bit=4, protocol=17),
        CompiledRule(action=RuleAction.DENY),
    )
    number = IdentityNumber(302)
    return DesiredPolicy(
        tables=Tables(
            bit_count=5,
            identity_rows={number: 1 << 3},
            prefix_rows={IPv4Network("192.0.2.0/24"): 1 << 4},
            classes=((rules, ()),),
        ),
        addresses={node.address(n): IdentityNumber(300 + n) for n in (1, 2, 3)},
        attachments=tuple(
            Attachment(
                endpoint=f"dc1/shop/e{n}",
                interface=f"pod{n}",
                class_number=0,
                identity=IdentityNumber(300 + n),
                addresses=(node.address(n), IPv4Address(f"10.10.9.{n}")),
            )
            for n in (2, 3)
        ),
    )


@pytest.fixture
def driver(node: Any) -> Any:
    # Its clock stands still: what a comparison costs would put the next one off, and the tests' resyncs follow each other at once.
    made = EbpfDriver(node.pin_dir, node.state_dir, monotonic=lambda: 0.0)
    yield made
    made.close()


@pytest.fixture
def enforced(node: Any, driver: EbpfDriver) -> DesiredPolicy:
    wanted = desired(node)
    with node.entered():
        assert driver.converge(wanted) == ()
        assert driver.converge(wanted) == (), "it takes its own writes for drift"
        assert driver.converge(wanted) == ()
    return wanted


def resync(driver: EbpfDriver, node: Any, wanted: DesiredPolicy) -> dict[str, str]:
    """One round; what it says of drift."""
    with node.entered():
        reports = driver.converge(wanted)
    assert all(report.is_ok and report.reason == DRIFT for report in reports)
    return {report.key: report.message for report in reports}


def held(driver: EbpfDriver, name: str) -> dict[bytes, bytes]:
    """Of a map, without what moves on with each repair: an endpoint's epoch, and its seal, which is that epoch once more."""
    found = dict(driver.maps[name].items())
    if name == "endpoints":
        del found[MARK]
        assert {value[EPOCH] for value in found.values()} == {value[-4:] for value in found.values()}
        return {key: value[: EPOCH.start] + value[EPOCH.stop : -4] for key, value in found.items()}
    return found


def remove(driver: EbpfDriver, name: str) -> str:
    driver.maps[name].delete([sorted(held(driver, name))[0]])
    return "entries: 1 missing"


def alter(driver: EbpfDriver, name: str) -> str:
    key = sorted(held(driver, name))[0]
    value = dict(driver.maps[name].items())[key]
    driver.maps[name].update({key: bytes([value[0] ^ 1]) + value[1:]})
    return "entries: 1 altered"


def add(driver: EbpfDriver, name: str) -> str:
    key_size, value_size = layout.SHAPES[name]
    key = b"\x20\0\0\0".ljust(key_size, b"\0") if name == "prefixes" else b"\x77" * key_size
    driver.maps[name].update({key: bytes(value_size)})
    return "entries: 1 not ours"


@pytest.mark.parametrize("how", [remove, alter, add])
def test_an_entry_that_is_altered_by_hand_is_right_after_the_next_resync(
    node: Any, driver: EbpfDriver, enforced: DesiredPolicy, how: Callable[[EbpfDriver, str], str]
) -> None:
    for number, name in enumerate(COMPARED, start=1):
        before, epoch = held(driver, name), driver.planner.standing.epoch
        assert before
        message = how(driver, name)
        assert held(driver, name) != before
        assert resync(driver, node, enforced) == {f"map {name}": message}
        assert held(driver, name) == before
        assert driver.planner.standing.epoch == epoch + 1, "what it allowed meanwhile is judged again"
        assert resync(driver, node, enforced) == {}
        assert driver.drifts == {"map": number}


def test_a_rule_that_is_altered_is_found_and_connections_that_it_let_in_are_cut(
    node: Any, driver: EbpfDriver
) -> None:
    node.serve(3)
    wanted = desired(node, action=RuleAction.DENY)
    assert resync(driver, node, wanted) == {}
    assert not node.reaches(2, 3)
    extent = next(e for e in driver.planner.standing.arena.extents.values() if e.size)
    place = layout.NUMBER.pack(extent.start)
    driver.maps["rules"].update({place: layout.rule(CompiledRule(action=RuleAction.ALLOW, bit=3))})
    assert node.reaches(2, 3)
    talk = node.start(2, "python3", "-c", TALK, str(node.address(3)))
    assert said(talk) == "ok"
    assert resync(driver, node, wanted) == {"map rules": "entries: 1 altered"}
    assert said(talk) == "cut"
    assert not node.reaches(2, 3)


TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], 8080), timeout=2)
s.settimeout(0.7)
for _ in sys.stdin:
    try:
        s.send(b"x")
        print("ok" if s.recv(10) else "cut", flush=True)
    except OSError:
        print("cut", flush=True)
"""


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_filter_that_is_removed_hangs_again_and_foreign_ones_are_left_alone(
    node: Any, driver: EbpfDriver, enforced: DesiredPolicy
) -> None:
    tc = ["tc", "-n", node.name, "filter"]
    place = ["dev", "pod3", "ingress", "prio", "60000"]
    subprocess.run(["tc", "-n", node.name, "qdisc", "add", "dev", "pod3", "clsact"], check=True)
    subprocess.run([*tc, "add", *place, "bpf", "bytecode", "1,6 0 0 0,"], check=True)
    with node.entered():
        index = links.index_of("pod3")
        assert index is not None
        hooks = Hooks(node.pin_dir)
        hooks.detach(index)
        assert resync(driver, node, enforced) == {"filter pod3": "removed"}
        assert hooks.look().ours[index] == set(loader.PROGRAMS)
    assert resync(driver, node, enforced) == {}
    left = subprocess.run([*tc, "show", "dev", "pod3", "ingress"], capture_output=True, text=True, check=True)
    assert "60000 bpf" in left.stdout


def test_a_rule_that_closes_an_endpoint_off_comes_back_and_foreign_ones_stay(node: Any) -> None:
    ip = ["ip", "-n", node.name]
    subprocess.run([*ip, "rule", "add", "priority", "3237", "to", "10.10.9.9", "blackhole"], check=True)
    subprocess.run([*ip, "route", "add", "blackhole", "10.99.0.0/16"], check=True)
    subprocess.run(["tc", "-n", node.name, "qdisc", "add", "dev", "pod2", "ingress"], check=True)
    driver = EbpfDriver(
        node.pin_dir, node.state_dir, has_tcx=False
    )  # which the older kind of qdisc leaves no place
    wanted = desired(node)
    with node.entered():
        (fault,) = driver.converge(wanted)
        assert not fault.is_ok
        closed = barriers.closed_off()
        assert len(closed) == 4
        barriers.close_off({})
        found = [report for report in driver.converge(wanted) if report.reason == DRIFT]
        assert [report.message for report in found] == ["4 missing, 0 too many"]
        assert barriers.closed_off() == closed
        barriers.close_off({"pod2": (node.address(2), IPv4Address("10.10.9.2")), "pod3": ()})
        found = [report for report in driver.converge(wanted) if report.reason == DRIFT]
        assert [report.message for report in found] == ["0 missing, 2 too many"]
    rules = subprocess.run([*ip, "rule"], capture_output=True, text=True, check=True).stdout
    assert "10.10.9.9" in rules
    assert "10.99.0.0/16" in subprocess.run([*ip, "route"], capture_output=True, text=True, check=True).stdout


def test_pins_that_are_removed_or_replaced_stand_for_the_same_objects_again(
    node: Any, driver: EbpfDriver, enforced: DesiredPolicy
) -> None:
    def numbers() -> dict[str, str]:
        return {path.name: number_at(path) for path in driver.generation.iterdir() if not path.is_symlink()}

    before, folder = numbers(), driver.generation
    neighbour = node.pin_dir.with_name(f"{node.pin_dir.name}-foreign")
    neighbour.mkdir()
    try:
        descriptor = bpf.open_pin(folder / "stamps")
        bpf.pin(descriptor, neighbour / "map")
        (folder / "addresses").unlink()
        (folder / "to_endpoint").unlink()
        (folder / "rules").unlink()
        bpf.pin(descriptor, folder / "rules")
        found = resync(driver, node, enforced)
        assert set(found) == {"pin addresses", "pin to_endpoint", "pin rules"}
        assert numbers() == before
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert len(resync(driver, node, enforced)) == len(loader.PINS) + 1
        assert numbers() == before
        assert resync(driver, node, enforced) == {}
        assert (neighbour / "map").exists()
    finally:
        (neighbour / "map").unlink(missing_ok=True)
        neighbour.rmdir()


def number_at(path: Path) -> str:
    descriptor = bpf.open_pin(path)
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    return next(line for line in text.splitlines() if line.startswith(("map_id", "prog_id")))


def test_the_program_that_walks_lists_is_put_back(
    node: Any, driver: EbpfDriver, enforced: DesiredPolicy
) -> None:
    node.serve(3)
    assert node.reaches(2, 3)
    steps = bpf.PinnedMap(driver.generation / "steps", 4, 4)
    steps.delete([layout.NUMBER.pack(0)])
    steps.close()
    assert not node.reaches(2, 3)
    assert set(resync(driver, node, enforced)) == {"map steps"}
    assert node.reaches(2, 3)
