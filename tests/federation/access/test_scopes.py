"""Where a role holds."""

from hypothesis import given
from hypothesis import strategies as st

from federation.access.rights import ROLES, Right
from federation.access.scopes import EVERYWHERE, Bounds, Grant, Place, bounds_from, bounds_told

NAMES = st.none() | st.frozensets(st.sampled_from("abc"), min_size=1)
BOUNDS = st.builds(Bounds, clusters=NAMES, namespaces=NAMES, tiers=NAMES)
GRANTS = st.builds(Grant, st.sampled_from(sorted(ROLES)), BOUNDS)
NAME = st.none() | st.sampled_from("abcd")
PLACES = st.builds(Place, cluster=NAME, namespace=NAME, tier=NAME)


@given(GRANTS, st.lists(GRANTS, max_size=3), PLACES, st.sampled_from(list(Right)))
def test_a_grant_within_others_allows_nothing_that_they_do_not(
    grant: Grant, others: list[Grant], place: Place, right: Right
) -> None:
    if grant.is_within(others) and grant.allows(right, place):
        assert any(other.allows(right, place) for other in others)


@given(GRANTS)
def test_every_grant_is_within_itself_and_within_an_owner(grant: Grant) -> None:
    assert grant.is_within([grant])
    assert grant.is_within([Grant("owner")])


@given(GRANTS)
def test_nothing_is_within_nothing(grant: Grant) -> None:
    assert not grant.is_within([])


@given(GRANTS, st.sampled_from(list(Right)))
def test_what_is_in_no_place_in_particular_takes_a_role_without_bounds(grant: Grant, right: Right) -> None:
    bounds = grant.bounds
    is_unbounded = bounds.clusters is None and bounds.namespaces is None
    is_unbounded = is_unbounded and (right is not Right.POLICY or bounds.tiers is None)
    assert grant.allows(right, EVERYWHERE) == (right in ROLES[grant.role] and is_unbounded)


@given(BOUNDS)
def test_bounds_are_told_and_taken_alike(bounds: Bounds) -> None:
    assert bounds_from(bounds_told(bounds)) == bounds


def test_tiers_bound_what_is_written_and_not_what_is_seen() -> None:
    grant = Grant("policy-admin", Bounds(tiers=frozenset({"security"})))
    assert grant.allows(Right.READ, Place(cluster="dc1", tier="default"))
    assert grant.allows(Right.POLICY, Place(cluster="dc1", tier="security"))
    assert not grant.allows(Right.POLICY, Place(cluster="dc1", tier="default"))


def test_no_role_but_the_owners_gives_rights_or_touches_the_authority() -> None:
    for role, rights in ROLES.items():
        assert (role == "owner") == bool(rights & {Right.ACCESS, Right.AUTHORITY})
        assert Right.READ in rights
