"""A relay's disk: what was put down comes back, whole transactions only, however it ended."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.relay.disk import Disk, held_of, objects_of
from controlplane.hub import Held
from federation import wire
from federation.errors import InvalidInput


def tier(name: str, order: int) -> Held:
    meta = {"name": name}
    return held_of(wire.Upsert({"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": meta, "spec": {"order": order}}))  # fmt: skip


GONE = held_of(wire.Delete("Tier", "a"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.close()


def found(folder: Path) -> tuple[int, dict[str, int]]:
    state = Disk(folder).load()
    return state.revision, {o.key.name: o.document["spec"]["order"] for o in objects_of(state) if o.document}


async def test_a_state_and_what_came_after_it_come_back(disk: Disk, tmp_path: Path) -> None:
    assert found(tmp_path) == (0, {})
    assert disk.is_due
    await disk.save(lambda: ([tier("a", 1)], 5))
    assert not disk.is_due
    disk.note([tier("b", 2).line], 6)
    disk.note([], 9)
    disk.note([GONE.line, tier("b", 3).line], 10)
    assert found(tmp_path) == (10, {"b": 3})
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("state.json", "journal-5.ndjson")}
    assert set(modes.values()) == {0o600}


async def test_a_transaction_that_is_torn_is_none(disk: Disk, tmp_path: Path) -> None:
    await disk.save(lambda: ([tier("a", 1)], 5))
    disk.note([tier("a", 2).line], 6)
    disk.note([tier("a", 3).line, tier("b", 3).line], 7)
    journal = tmp_path / "journal-5.ndjson"
    whole = journal.read_bytes()
    known = {(5, 1), (6, 2), (7, 3)}
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        revision, orders = found(tmp_path)
        assert (revision, orders["a"]) in known
        assert ("b" in orders) == (revision == 7)


async def test_a_kill_between_a_whole_state_and_its_journal_loses_nothing(disk: Disk, tmp_path: Path) -> None:
    await disk.save(lambda: ([tier("a", 1)], 5))
    disk.note([tier("a", 2).line], 6)
    state, journal = (tmp_path / "state.json").read_bytes(), tmp_path / "journal-5.ndjson"
    before = journal.read_bytes()
    await disk.save(lambda: ([tier("a", 2)], 6))
    disk.note([tier("a", 3).line], 7)
    assert found(tmp_path) == (7, {"a": 3})
    journal.write_bytes(before)  # not deleted yet
    assert found(tmp_path) == (7, {"a": 3})
    (tmp_path / "state.json").write_bytes(state)  # not written yet
    assert found(tmp_path) == (7, {"a": 3})


async def test_a_journal_of_another_state_is_passed_over(disk: Disk, tmp_path: Path) -> None:
    await disk.save(lambda: ([tier("a", 1)], 5))
    (tmp_path / "journal-3.ndjson").write_bytes(tier("x", 9).line + wire.encode(wire.Commit(99)))
    assert found(tmp_path) == (5, {"a": 1})
    await disk.save(lambda: ([tier("a", 1)], 4))  # the control plane was set back
    assert found(tmp_path) == (4, {"a": 1})
    assert not (tmp_path / "journal-3.ndjson").exists()


async def test_after_a_write_that_failed_a_journal_has_no_hole(disk: Disk, tmp_path: Path) -> None:
    await disk.save(lambda: ([tier("a", 1)], 5))
    assert disk._journal is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, disk._journal.fileno())
    os.close(full)
    disk.note([tier("a", 2).line], 6)
    assert "No space left" in disk.fault
    disk.note([tier("b", 3).line], 7)
    assert disk.is_due
    assert found(tmp_path) == (5, {"a": 1})
    await disk.save(lambda: ([tier("a", 2), tier("b", 3)], 7))
    assert disk.fault == ""
    assert found(tmp_path) == (7, {"a": 2, "b": 3})


@pytest.mark.parametrize("path", ["web", "dc1/web", "dc1/shop/web", "-/shop/web"])
def test_a_path_names_the_key_that_it_was_made_of(path: str) -> None:
    key = held_of(wire.Delete("NetworkPolicy", path)).key
    assert (key.kind, key.path, key.name) == ("NetworkPolicy", path, "web")


@pytest.mark.parametrize("document", [{}, {"kind": "Tier"}, {"kind": "Tier", "metadata": {"name": 7}}])
def test_what_names_no_object_is_said(document: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        held_of(wire.Upsert(document))
