"""The chain of the audit log: what was changed, left out or put in is found."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.audit import Chain, Deed, Entry, chained
from federation.errors import Conflict

WORDS = st.text(max_size=20)
DEEDS = st.lists(
    st.builds(Deed, at=WORDS, actor=WORDS, address=WORDS, request=WORDS, action=WORDS, subject=WORDS, before=WORDS, after=WORDS),
    min_size=1, max_size=8,
)  # fmt: skip


def verified(entries: list[Entry]) -> Chain:
    chain = Chain()
    for entry in entries:
        chain.add(entry)
    return chain


@given(DEEDS, st.data())
def test_entries_written_in_any_portions_are_one_chain(deeds: list[Deed], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(deeds)))
    first = chained(deeds[:cut], 0, "")
    head = first[-1].hash if first else ""
    both = first + chained(deeds[cut:], cut, head)
    assert both == chained(deeds, 0, "")
    assert (verified(both).sequence, verified(both).head) == (len(deeds), both[-1].hash)


@given(DEEDS, st.data())
def test_an_entry_that_was_changed_is_found(deeds: list[Deed], data: st.DataObject) -> None:
    entries = chained(deeds, 0, "")
    at = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(
        st.sampled_from(("at", "actor", "address", "request", "action", "subject", "before", "after"))
    )
    changed = replace(entries[at].deed, **{field: getattr(entries[at].deed, field) + "x"})
    entries[at] = replace(entries[at], deed=changed)
    with pytest.raises(Conflict, match=f"entry {at + 1} "):
        verified(entries)


@given(DEEDS, st.data())
def test_an_entry_that_was_left_out_put_in_or_moved_is_found(deeds: list[Deed], data: st.DataObject) -> None:
    entries = chained([*deeds, *deeds], 0, "")
    at = data.draw(st.integers(0, len(entries) - 2))
    with pytest.raises(Conflict, match=f"entry {at + 1} is missing"):
        verified(entries[:at] + entries[at + 1 :])
    with pytest.raises(Conflict, match="comes twice"):
        verified(entries[: at + 1] + entries[at:])
    with pytest.raises(Conflict):
        verified([*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]])


def test_a_log_that_was_made_anew_has_another_head() -> None:
    deeds = [Deed(at="1", actor="ann", action="delete", subject="Tier a"), Deed(at="2", actor="bob", action="create", subject="Tier a")]  # fmt: skip
    forged = [replace(deeds[0], actor="bob"), deeds[1]]
    assert verified(chained(deeds, 0, "")).head != verified(chained(forged, 0, "")).head


def test_fields_do_not_run_into_each_other() -> None:
    one = Deed(at="", actor="ab", action="c", subject="")
    other = Deed(at="", actor="a", action="bc", subject="")
    assert chained([one], 0, "")[0].hash != chained([other], 0, "")[0].hash
