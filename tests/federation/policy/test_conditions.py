"""What a resource says of itself once kernels police hosts: nothing of hosts is held against it then."""

from federation.policy import model
from federation.policy.conditions import enforceable, enforceable_host, enforceable_profile
from federation.resources.metadata import ObjectKey

KEY = ObjectKey("GlobalNetworkPolicy", "", "", "p")


def policy(**more: object) -> model.Policy:
    subject = model.Match(kinds=model.SUBJECTS)
    return model.Policy(**{"key": KEY, "tier": "default", "subject": subject, **more})  # type: ignore[arg-type]


def said(one: model.Policy, *, are_hosts_enforced: bool) -> str:
    return enforceable([one], are_hosts_enforced=are_hosts_enforced).reason


def test_what_selects_host_endpoints_is_whole_where_hosts_are_policed() -> None:
    hosts = model.Match(kinds=frozenset({model.PartyKind.HOST_ENDPOINT}))
    for one, before in (
        (policy(subject=hosts, stage=model.Stage.UNTRACKED, is_on_forward=True), "Hosts"),
        (policy(subject=hosts), "Hosts"),
        (policy(is_on_forward=True), "Partly"),
        (policy(), "Whole"),
    ):
        assert said(one, are_hosts_enforced=False) == before
        assert said(one, are_hosts_enforced=True) == "Whole"


def test_a_host_without_host_endpoint_is_not_policed_even_then() -> None:
    assert said(policy(subject=model.Match(kinds=model.HOSTS)), are_hosts_enforced=True) == "Hosts"


def test_host_endpoints_and_profiles_of_theirs_follow() -> None:
    assert [enforceable_host(are_hosts_enforced=flag).status for flag in (False, True)] == ["False", "True"]
    for name, before in (("p", "False"), ("kns.shop", "True"), ("ksa.shop.robot", "True")):
        profile = policy(key=ObjectKey("Profile", "", "", name))
        found = [enforceable_profile(profile, are_hosts_enforced=flag).status for flag in (False, True)]
        assert found == [before, "True"]
