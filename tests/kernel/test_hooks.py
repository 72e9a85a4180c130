"""Where programs hang: by tcx or as filters of clsact, beside what others hung there, and what becomes of it."""

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.dataplane.ebpf import bpf, layout, loader
from nodeagent.dataplane.ebpf.bpf import PinnedMap, call
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.linux import filters, links, tcx
from nodeagent.dataplane.linux.hooks import FOLDER
from nodeagent.drivers import DesiredPolicy
from tests.kernel.test_verdicts import ALL, DB_FROM_API, converge, desired, live, matrix

pytestmark = pytest.mark.kernel
BOTH = set(loader.PROGRAMS)


@pytest.fixture
def served(node: Any) -> Any:
    for number in (1, 2, 3):
        node.serve(number)
    return node


@pytest.fixture
def made(served: Any) -> Iterator[Any]:
    """Makes drivers, one after the other, that close what they hold."""
    drivers: list[EbpfDriver] = []

    def make(**words: Any) -> EbpfDriver:
        drivers.append(EbpfDriver(served.pin_dir, served.state_dir, **words))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def hung(node: Any) -> tuple[dict[int, set[str]], dict[int, set[str]]]:
    """By clsact, by tcx."""
    with node.entered():
        return dict(filters.look().ours), tcx.look(node.pin_dir / FOLDER)


def forwarded(node: Any) -> int:
    """Packets that the node's stack has passed on."""
    text = subprocess.run(
        ["nsenter", f"--net=/run/netns/{node.name}", "cat", "/proc/net/snmp"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


def locals_of(driver: EbpfDriver) -> set[bytes]:
    return {key for key, _ in driver.maps["locals"].items()}


def tc(node: Any, *words: str) -> str:
    command = ["nsenter", f"--net=/run/netns/{node.name}", "tc", *words]  # `tc -n` would hide the bpffs
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_kernel_without_tcx_gets_the_same_verdicts_from_clsact(served: Any, made: Any) -> None:
    driver = made(has_tcx=False)
    assert converge(driver, served, desired(served, DB_FROM_API)) == ()
    classic, by_tcx = hung(served)
    assert list(classic.values()) == [BOTH] * 3
    assert by_tcx == {}
    assert matrix(served) == ALL - {"13"}


def test_an_agent_that_finds_tcx_takes_over_from_clsact(served: Any, made: Any) -> None:
    converge(made(has_tcx=False), served, desired(served, DB_FROM_API))
    driver = made()
    assert converge(driver, served, desired(served, DB_FROM_API)) == ()
    classic, by_tcx = hung(served)
    assert classic == {}
    assert list(by_tcx.values()) == [BOTH] * 3
    assert matrix(served) == ALL - {"13"}
    again = made()  # restarted: the same links go on
    assert converge(again, served, desired(served)) == ()
    assert hung(served) == ({}, by_tcx)
    assert matrix(served) == ALL


def test_a_link_that_was_removed_by_hand_is_made_again(served: Any, made: Any) -> None:
    driver, wanted = made(), desired(served, DB_FROM_API)
    converge(driver, served, wanted)
    _, before = hung(served)
    for pin in (served.pin_dir / FOLDER).iterdir():
        pin.unlink()
    assert any(served.reaches(1, 3) for _ in range(20)), (
        "nothing hangs there, as soon as the kernel has cleaned up"
    )
    converge(driver, served, wanted)
    assert hung(served) == ({}, before)
    assert not served.reaches(1, 3)


def test_an_interface_takes_its_links_with_it(served: Any, made: Any) -> None:
    driver = made()
    converge(driver, served, desired(served))
    with served.entered():
        index = links.index_of("pod2")
    subprocess.run(["ip", "-n", served.name, "link", "del", "pod2"], check=True)
    (report,) = converge(driver, served, desired(served, DB_FROM_API))
    assert "pod2 does not exist" in report.message
    assert index not in hung(served)[1]
    assert not list((served.pin_dir / FOLDER).glob(f"{index}-*"))
    with served.entered():
        driver.withdraw()
    assert hung(served) == ({}, {})


def test_packets_between_endpoints_of_the_node_pass_its_stack_by(served: Any, made: Any) -> None:
    driver = made()
    assert converge(driver, served, desired(served, DB_FROM_API)) == ()
    before = forwarded(served)
    assert matrix(served) == ALL - {"13"}
    assert matrix(served, "udp") == ALL - {"13", "23"}
    assert forwarded(served) == before
    driver.close()
    through = made(is_direct=False)
    assert converge(through, served, desired(served, DB_FROM_API)) == ()
    assert locals_of(through) == set()
    assert matrix(served) == ALL - {"13"}
    assert forwarded(served) > before


class Load(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32), ("count", ctypes.c_uint32), ("code", ctypes.c_uint64), ("license", ctypes.c_uint64),
        ("log", ctypes.c_uint64 * 4),
    ]  # fmt: skip


def foreign_program(pin: Path) -> None:
    """Somebody else's program, which drops all."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0), 16)
    gpl = ctypes.create_string_buffer(b"GPL")
    load = Load(type=3, count=2, code=ctypes.addressof(code), license=ctypes.addressof(gpl))
    program = call(5, load, "load")
    bpf.pin(program, pin)
    os.close(program)


def test_filters_of_others_see_the_packets_that_they_would_see_without_us(served: Any, made: Any) -> None:
    pin = Path("/sys/fs/bpf") / f"{served.name}-foreign"
    foreign_program(pin)
    tc(served, "qdisc", "add", "dev", "pod3", "clsact")
    on_pod3 = ("dev", "pod3", "egress")
    tc(served, "filter", "add", *on_pod3, "prio", "60000", "bpf", "direct-action", "object-pinned", str(pin))
    pin.unlink()
    driver = made()
    wanted = desired(served)
    assert converge(driver, served, wanted) == ()
    assert locals_of(driver) == {layout.local_key(served.address(n)) for n in (1, 2)}
    assert not served.reaches(1, 3), "the other's filter drops it, after ours let it pass"
    assert served.reaches(1, 2)
    tc(served, "filter", "del", *on_pod3)
    converge(driver, served, wanted)
    assert locals_of(driver) == {layout.local_key(served.address(n)) for n in (1, 2, 3)}
    assert served.reaches(1, 3)


def test_an_address_that_the_node_translates_is_answered_from_that_address(served: Any, made: Any) -> None:
    rules = f"""
table ip services {{
  chain to {{
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.1 dnat to {served.address(3)}
  }}
}}
"""
    enter = ["nsenter", f"--net=/run/netns/{served.name}"]
    subprocess.run([*enter, "nft", "-f", "-"], input=rules, text=True, check=True)
    driver = made()
    wanted: DesiredPolicy = desired(served)
    assert converge(driver, served, wanted) == ()
    for kind in ("tcp", "udp"):
        assert served.asks(2, "10.96.0.1", kind), kind
        assert served.reaches(2, 3, kind), kind


def test_a_connection_past_the_stack_is_cut_when_either_end_loses_its_permission(
    served: Any, made: Any
) -> None:
    driver = made()
    converge(driver, served, desired(served))
    before = forwarded(served)
    first, second = live(served, 1, 3), live(served, 2, 3)
    assert (first.ping(), second.ping()) == ("ok", "ok")
    converge(driver, served, desired(served, {"selector": "app == 'web'", "ingress": []}))
    assert first.ping() == "ok", "nobody opens anything to web; what web opened goes on"
    assert forwarded(served) == before
    converge(driver, served, desired(served, DB_FROM_API))
    assert (first.ping(), second.ping()) == ("cut", "ok")
    no_way_out = {"selector": "app == 'api'", "types": ["Egress"]}
    converge(driver, served, desired(served, DB_FROM_API, no_way_out))
    assert second.ping() == "cut"


def test_both_ends_of_a_connection_share_an_entry(served: Any, made: Any) -> None:
    driver = made()
    converge(driver, served, desired(served))
    connection = live(served, 1, 3)
    assert connection.ping() == "ok"
    held = PinnedMap(driver.generation / "connections", layout.CONNECTION_KEY.size, layout.CONNECTION.size)
    ((_, value),) = held.items()
    held.close()
    fields = layout.CONNECTION.unpack(value)
    with served.entered():
        assert {fields[6], fields[10]} == {links.index_of("pod1"), links.index_of("pod3")}
