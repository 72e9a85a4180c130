"""The replica: transactions show as a whole, and one bad line costs that line."""

from typing import Any

import pytest

from federation import wire
from federation.errors import InvalidInput
from nodeagent.control.replica import Reader, Replica, State, path_of


def cluster(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "causeway.dev/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": spec}


ONE, TWO = cluster("one", prefixes=["10.1.0.0/16"]), cluster("two", prefixes=["10.2.0.0/16"])


def begun(start: State) -> Replica:
    """At a stream that is in sync with a state."""
    replica = Replica(start)
    replica.take(wire.Begin("resume" if start.revision else "snapshot", start.revision))
    replica.take(wire.InSync(start.revision))
    return replica


def told(*messages: wire.Message, start: State | None = None) -> State:
    is_whole = isinstance(messages[0], wire.Begin)
    replica = Replica(start or State()) if is_whole else begun(start or State())
    for message in messages:
        replica.take(message)
    return replica.state


def names(state: State) -> set[str]:
    return {path for _, path in state.documents}


def test_a_transaction_shows_at_its_end_only() -> None:
    replica = Replica(State())
    for message in (wire.Begin("snapshot", 1), wire.Upsert(ONE), wire.Upsert(TWO)):
        assert replica.take(message) is None
        assert replica.state == State()
    assert names(replica.take(wire.InSync(1)) or State()) == {"one", "two"}


def test_a_snapshot_drops_what_it_does_not_mention_and_a_resume_keeps_it() -> None:
    start = told(wire.Begin("snapshot", 1), wire.Upsert(ONE), wire.InSync(1))
    snapshot = told(wire.Begin("snapshot", 2), wire.Upsert(TWO), wire.InSync(2), start=start)
    resumed = told(wire.Begin("resume", 2), wire.Upsert(TWO), wire.InSync(2), start=start)
    assert (names(snapshot), names(resumed)) == ({"two"}, {"one", "two"})


def test_a_connection_lost_in_a_transaction_leaves_the_state_before_it() -> None:
    start = told(wire.Begin("snapshot", 1), wire.Upsert(ONE), wire.InSync(1))
    for half in ((wire.Begin("snapshot", 2),), (wire.Begin("resume", 2), wire.Delete("Cluster", "one"))):
        cut = Replica(start)
        for message in (*half, wire.Upsert(TWO), wire.Begin("resume", 2), wire.InSync(2)):
            cut.take(message)
        assert names(cut.state) == {"one"}


START = State(revision=5, documents={("Cluster", "one"): ONE})


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([wire.Upsert(TWO)], "does not begin"),
        ([wire.Delete("Cluster", "one")], "does not begin"),
        ([wire.InSync(6)], "does not begin"),
        ([wire.Commit(6)], "before its first"),
        ([wire.Begin("snapshot", 6), wire.Upsert(TWO), wire.Commit(6)], "before its first"),
        ([wire.Begin("resume", 6), wire.Upsert(TWO), wire.Commit(6)], "before its first"),
        ([wire.Begin("resume", 6), wire.Upsert(TWO), wire.InSync(4)], "goes back from revision 5 to 4"),
        ([wire.Begin("snapshot", 6), wire.Upsert(TWO), wire.InSync(5)], "goes back from revision 6 to 5"),
        ([wire.Begin("resume", 6), wire.InSync(6), wire.Upsert(TWO), wire.Commit(5)], "goes back"),
        ([wire.Begin("resume", 6), wire.InSync(6), wire.Begin("snapshot", 7), wire.Commit(7)], "before"),
    ],
)  # fmt: skip
def test_a_stream_that_does_not_go_as_it_should_is_refused_and_shows_nothing_of_it(
    messages: list[wire.Message], said: str
) -> None:
    replica = Replica(START)
    for message in messages[:-1]:
        replica.take(message)
    with pytest.raises(InvalidInput, match=said):
        replica.take(messages[-1])
    assert replica.state.documents is START.documents


def test_what_is_not_a_whole_is_not_taken_for_one() -> None:
    for nothing in (State(), State(revision=5, unread=("a line",))):
        with pytest.raises(InvalidInput, match="nothing to resume from"):
            Replica(nothing).take(wire.Begin("resume", 5))


def test_deleting_what_is_not_there_and_deleting_in_a_snapshot_are_fine() -> None:
    state = told(
        wire.Begin("snapshot", 1), wire.Delete("Cluster", "x"), wire.Upsert(ONE), wire.Delete("Cluster", "one"), wire.InSync(1)
    )  # fmt: skip
    assert names(state) == set()


def test_an_empty_commit_and_a_snapshot_of_the_same_keep_the_documents_object() -> None:
    start = told(wire.Begin("snapshot", 1), wire.Upsert(ONE), wire.InSync(1))
    again = (wire.Begin("snapshot", 3), wire.Upsert({**ONE}), wire.InSync(3))
    for messages in ((wire.Commit(2),), (wire.Upsert({**ONE}), wire.Commit(2)), again):
        after = told(*messages, start=start)
        assert after.documents is start.documents
        assert after.revision > start.revision


def test_an_older_history_is_taken_as_it_is() -> None:
    start = told(wire.Begin("snapshot", 90), wire.Upsert(ONE), wire.InSync(90))
    restored = told(wire.Begin("snapshot", 4), wire.Upsert(TWO), wire.InSync(4), start=start)
    assert (restored.revision, names(restored), restored.resume_from) == (4, {"two"}, 4)


BAD = [
    {},
    {"kind": "Cluster"},
    {"kind": "Cluster", "metadata": None},
    {"kind": "Cluster", "metadata": []},
    {"kind": "Cluster", "metadata": {}},
    {"kind": "Cluster", "metadata": {"name": ""}},
    {"kind": "Cluster", "metadata": {"name": 3}},
    {"kind": "Cluster", "metadata": {"name": "x", "cluster": []}},
    {"kind": "Cluster", "metadata": {"name": "x", "namespace": None}},
    {"kind": ["Cluster"], "metadata": {"name": "x"}},
    {"metadata": {"name": "x"}},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_an_upsert_that_names_no_object_costs_that_line_and_is_reported(bad: dict[str, Any]) -> None:
    state = told(
        wire.Begin("snapshot", 1), wire.Upsert(ONE), wire.Upsert(bad), wire.Upsert(TWO), wire.InSync(1)
    )
    reader = Reader()
    list(reader.follow(state))
    faults = reader.faults(state)
    assert {r.metadata.name for r in reader.resources.values()} == {"one", "two"}
    assert [(f.key, f.reason) for f in faults] == [("stream", "unreadable")]
    assert "of the stream has no" in faults[0].message


def test_after_an_unread_line_only_a_snapshot_heals() -> None:
    replica = Replica(State())
    for message in (wire.Begin("snapshot", 1), wire.Upsert({}), wire.Upsert({}), wire.InSync(1)):
        replica.take(message)
    state = replica.state
    assert (len(state.unread), state.resume_from) == (1, None)
    replica.take(wire.Upsert(ONE))
    later = replica.take(wire.Commit(2)) or State()
    assert (later.unread, later.resume_from) == (state.unread, None)
    healed = told(wire.Begin("snapshot", 3), wire.Upsert(ONE), wire.InSync(3), start=later)
    assert (healed.unread, healed.resume_from) == ((), 3)


def test_a_flood_of_unread_lines_is_bounded() -> None:
    lines = [wire.Upsert({"kind": "K", "number": n, "pad": "x" * 10_000}) for n in range(1000)]
    state = told(wire.Begin("snapshot", 1), *lines, wire.InSync(1))
    assert sum(map(len, state.unread)) < 5000


def test_a_document_that_cannot_be_read_is_named_with_its_faults() -> None:
    wrong = cluster("bad", prefixes=["10.0.0.0/99"], colour="red")
    reader = Reader()
    state = told(wire.Upsert(wrong), wire.Upsert(ONE), wire.Commit(1))
    list(reader.follow(state))
    faults = reader.faults(state)
    assert [r.metadata.name for r in reader.resources.values()] == ["one"]
    assert faults[0].key == "Cluster bad"
    assert "/spec/colour" in faults[0].message
    assert "/spec/prefixes/0" in faults[0].message


def test_a_reader_reads_again_only_what_has_changed() -> None:
    reader = Reader()
    first = told(wire.Upsert(ONE), wire.Upsert(TWO), wire.Commit(1))
    list(reader.follow(first))
    before = dict(reader.resources)
    second = told(wire.Upsert(cluster("two", prefixes=[])), wire.Commit(2), start=first)
    changed = list(reader.follow(second))
    one, two = ("Cluster", "one"), ("Cluster", "two")
    assert reader.resources[one] is before[one]
    assert changed == [(before[two], reader.resources[two])]
    gone = reader.resources[two]
    third = told(
        wire.Delete(*two),
        wire.Upsert({"kind": "Spell", "metadata": {"name": "one"}}),
        wire.Commit(3),
        start=second,
    )
    assert list(reader.follow(third)) == [(None, None), (gone, None)]
    assert two not in reader.resources


def test_what_an_identity_was_is_known_though_its_resource_is_not_kept() -> None:
    def identity(app: str) -> dict[str, Any]:
        spec = {"number": 300, "labels": {"app": app}}
        return {
            "apiVersion": "causeway.dev/v1",
            "kind": "Identity",
            "metadata": {"name": "300"},
            "spec": spec,
        }

    def labels(state: State) -> list[tuple[Any, ...]]:
        pairs = reader.follow(state)
        return [tuple(one and one.spec.labels["app"] for one in pair) for pair in pairs]

    reader = Reader()
    first = told(wire.Upsert(identity("web")), wire.Commit(1))
    assert labels(first) == [(None, "web")]
    assert not reader.resources
    second = told(wire.Upsert(identity("shop")), wire.Commit(2), start=first)
    assert labels(second) == [("web", "shop")]
    broken = told(wire.Upsert({**identity("shop"), "spec": {}}), wire.Commit(3), start=second)
    assert labels(broken) == [("shop", None)]
    assert [fault.key for fault in reader.faults(broken)] == ["Identity 300"]
    assert labels(told(wire.Delete("Identity", "300"), wire.Commit(4), start=broken)) == [(None, None)]
    assert not reader.faults(State())


@pytest.mark.parametrize(
    ("meta", "path"),
    [
        ({"name": "a"}, "a"),
        ({"name": "a", "cluster": "c"}, "c/a"),
        ({"name": "a", "cluster": "c", "namespace": "n"}, "c/n/a"),
        ({"name": "a", "namespace": "n"}, "-/n/a"),
    ],
)
def test_a_path_is_the_one_of_the_object_key(meta: dict[str, str], path: str) -> None:
    assert path_of({"kind": "X", "metadata": meta}) == path


def test_a_path_of_nothing_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        path_of({"kind": "X"})
