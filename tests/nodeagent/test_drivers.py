"""The journal tells a driver what may differ, and never less than does."""

from ipaddress import IPv4Address

from federation.identities import IdentityNumber
from nodeagent.drivers import ANYTHING, KEPT_STEPS, Journal, Touched

A, B = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


def step(*addresses: IPv4Address) -> Touched:
    return Touched(identities={IdentityNumber(300)}, nets=(), addresses=addresses)


def test_skipped_states_are_joined() -> None:
    journal = Journal()
    for serial, touched in enumerate((ANYTHING, step(A), step(B), step()), start=1):
        journal.note(serial, touched)
    assert journal.between(1, 3) == Touched({IdentityNumber(300)}, set(), {A, B})
    assert journal.between(3, 4).addresses == set()
    assert journal.between(2, 2) == Touched(set(), set(), set())


def test_where_anything_may_differ_or_the_way_is_not_known_all_is_compared() -> None:
    journal = Journal()
    for serial, touched in enumerate((ANYTHING, step(A)), start=1):
        journal.note(serial, touched)
    assert journal.between(0, 2) == ANYTHING
    assert journal.between(1, 5) == ANYTHING
    assert journal.between(2, 1) == ANYTHING
    for serial in range(3, KEPT_STEPS + 5):
        journal.note(serial, step(B))
    assert journal.between(1, KEPT_STEPS + 4) == ANYTHING
    assert journal.between(KEPT_STEPS, KEPT_STEPS + 4).addresses == {B}
