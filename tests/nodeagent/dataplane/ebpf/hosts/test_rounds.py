"""When interfaces are looked at, and what a round is told."""

from federation.policy.tables import HostClasses, Tables
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.dataplane.ebpf.hosts.rounds import Rounds
from nodeagent.drivers import DesiredPolicy, HostAttachment

CLASSES = HostClasses(untracked=0, pre_dnat=0, forward=0, normal=0)
ALL = HostAttachment(host_endpoint="dc1//all", interface="*", classes=CLASSES)
TABLES = Tables(classes=(((), ()),))


def test_interfaces_are_looked_at_when_something_may_have_changed_only() -> None:
    there = [Interface(index=2, name="eth0")]
    looks = []

    def look() -> list[Interface]:
        looks.append(1)
        return list(there)

    rounds, wanted = Rounds(look), DesiredPolicy(tables=TABLES, hosts=(ALL,))
    assert rounds.next(DesiredPolicy(tables=TABLES), (), must_look=True).places == {}
    assert looks == [], "nobody asks for them"
    assert rounds.next(wanted, (), must_look=False).places.keys() == {2}
    there.append(Interface(index=3, name="eth1", is_bare=True))
    assert rounds.next(wanted, (), must_look=False).places.keys() == {2}
    found = rounds.next(wanted, {2}, must_look=True)
    assert found.places.keys() == {3}, "the other is an endpoint's now"
    assert found.places[3].is_bare
    assert found.fault(3, "it stays open").message == "eth1: it stays open"
    assert len(looks) == 2
