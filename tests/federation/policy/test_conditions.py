"""What a resource says of itself where hosts are concerned: kernels police those that a HostEndpoint names."""

from federation.policy import model
from federation.policy.conditions import enforceable, enforceable_host, enforceable_profile
from federation.resources.metadata import ObjectKey

KEY = ObjectKey("GlobalNetworkPolicy", "", "", "p")


def policy(**more: object) -> model.Policy:
    subject = model.Match(kinds=model.SUBJECTS)
    return model.Policy(**{"key": KEY, "tier": "default", "subject": subject, **more})  # type: ignore[arg-type]


def test_what_selects_host_endpoints_is_whole() -> None:
    hosts = model.Match(kinds=frozenset({model.PartyKind.HOST_ENDPOINT}))
    for one in (
        policy(subject=hosts, stage=model.Stage.UNTRACKED, is_on_forward=True),
        policy(subject=hosts),
        policy(is_on_forward=True),
        policy(),
    ):
        assert enforceable([one]).reason == "Whole"


def test_a_host_without_host_endpoint_is_not_policed() -> None:
    found = enforceable([policy(subject=model.Match(kinds=model.HOSTS))])
    assert (found.status, found.reason) == ("False", "Hosts")
    workloads = model.Match(kinds=frozenset({model.PartyKind.WORKLOAD}))
    assert enforceable([policy(subject=workloads, stage=model.Stage.PRE_DNAT)]).reason == "Hosts"


def test_host_endpoints_and_profiles_are_whole() -> None:
    assert enforceable_host().status == "True"
    for name in ("p", "kns.shop", "ksa.shop.robot"):
        assert enforceable_profile(policy(key=ObjectKey("Profile", "", "", name))).status == "True"
