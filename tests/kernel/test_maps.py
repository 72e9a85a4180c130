"""Pinned maps: what batches do, one by one must do too, on the kernel's own hashes and tries."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.bpf import READ_AT_ONCE, PinnedMap, is_bpffs
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import DesiredPolicy

pytestmark = pytest.mark.kernel


@pytest.fixture
def driver(node: Any) -> Any:
    made = EbpfDriver(node.pin_dir, node.state_dir)
    with node.entered():
        made.converge(DesiredPolicy())
    yield made
    made.close()


def entries_of(name: str, number: int) -> dict[bytes, bytes]:
    first = IPv4Address("10.0.0.0")
    if name == "prefixes":
        return {layout.prefix_key(9, IPv4Network(first + n)): layout.NUMBER.pack(n) for n in range(number)}
    return {layout.address_key(9, first + n): layout.address_value(first + n, n, 0) for n in range(number)}


@pytest.mark.parametrize("name", ["addresses", "prefixes"])
def test_a_map_gives_back_all_that_was_written_in_batches_or_not(driver: EbpfDriver, name: str) -> None:
    wanted = entries_of(name, 2 * READ_AT_ONCE + 17)
    held: PinnedMap = driver.maps[name]
    held.update(wanted)
    assert dict(held.items()) == dict(held.items_one_by_one()) == wanted
    held.update({})
    held.delete([])
    assert len(dict(held.items())) == len(wanted)


@pytest.mark.parametrize("name", ["addresses", "prefixes"])
def test_removing_goes_on_after_entries_that_are_not_there(driver: EbpfDriver, name: str) -> None:
    wanted = entries_of(name, 100)
    keys = list(wanted)
    held = driver.maps[name]
    held.update({key: value for n, (key, value) in enumerate(wanted.items()) if n % 3 and n != 50})
    held.delete(keys[:90])
    assert set(dict(held.items())) == {key for n, key in enumerate(keys) if n >= 90 and n % 3}
    held.delete(keys)
    assert dict(held.items()) == {}
    held.delete(keys)


def test_a_path_on_a_bpffs_is_known_before_it_exists(node: Any, tmp_path: Any) -> None:
    assert is_bpffs(node.pin_dir / "not" / "yet")
    assert not is_bpffs(tmp_path / "pins")
