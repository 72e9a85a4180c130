"""Where a program hangs at the driver."""

from dataclasses import replace

from federation.policy.tables import CompiledRule, RuleAction
from nodeagent.dataplane.ebpf.hosts.early import denies, hindrance
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.dataplane.ebpf.plan import HostPlace

DENY, ALLOW, LEAVE = (
    (CompiledRule(action=action, next_tier=action is RuleAction.PASS),)
    for action in (RuleAction.DENY, RuleAction.ALLOW, RuleAction.PASS)
)
ETH0 = Interface(index=2, name="eth0")


def test_it_is_of_use_where_something_that_comes_in_is_denied_untracked() -> None:
    none = ((),) * 8
    assert denies(HostPlace((ALLOW + DENY, *none[1:])))
    for lists in (
        none,
        (ALLOW + LEAVE, *none[1:]),
        ((), DENY, *none[2:]),
        (LEAVE, (), DENY, DENY, *none[4:]),
    ):
        assert not denies(HostPlace(lists))


def test_it_may_not_hang_where_it_would_take_a_packet_for_another() -> None:
    assert hindrance(ETH0) == ""
    assert "Ethernet" in hindrance(replace(ETH0, is_bare=True))
    assert "part" in hindrance(replace(ETH0, is_part=True))
    assert "VLANs" in hindrance(replace(ETH0, has_tags=True))
