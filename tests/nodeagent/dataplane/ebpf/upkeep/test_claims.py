"""What several endpoints claim is nobody's."""

from ipaddress import IPv4Address, IPv6Address

from federation.identities import IdentityNumber
from nodeagent.dataplane.ebpf.upkeep.claims import CLAIMED, settled
from nodeagent.drivers import Address, Attachment

A, B, C = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv6Address("fd00::3")


def one(name: str, interface: str, *addresses: Address, number: int = 300) -> Attachment:
    return Attachment(endpoint=name, interface=interface, class_number=0, identity=IdentityNumber(number), addresses=addresses)  # fmt: skip


def test_what_nobody_else_claims_stays() -> None:
    given = (one("x", "veth1", A, C), one("y", "veth2", B))
    found = settled(given, {A: IdentityNumber(300), B: IdentityNumber(300)})
    assert found.attachments == given
    assert found.reports == ()


def test_an_address_of_two_is_neithers_and_the_rest_stays_theirs() -> None:
    found = settled((one("x", "veth1", A, C), one("y", "veth2", B, A)), {})
    assert [a.addresses for a in found.attachments] == [(C,), (B,)]
    assert [r.key for r in found.reports] == ["endpoint x", "endpoint y"]
    assert found.reports[0].message.startswith("10.0.0.1 is also claimed by y")
    assert {r.reason for r in found.reports} == {CLAIMED}


def test_who_has_nothing_of_his_own_gets_nothing() -> None:
    assert settled((one("x", "veth1", A), one("y", "veth2", A)), {}).attachments == ()


def test_an_interface_of_two_lets_nobody_through_whatever_their_addresses() -> None:
    found = settled((one("x", "veth1", A), one("y", "veth1", B), one("z", "veth2", C)), {})
    assert [a.endpoint for a in found.attachments] == ["z"]
    assert "veth1 is also claimed by y" in found.reports[0].message


def test_an_address_that_stands_under_another_identity_is_not_this_endpoints() -> None:
    """The other one is on another node: there it is the same the other way, or that one is who it is taken for."""
    found = settled((one("x", "veth1", A, B),), {A: IdentityNumber(301), B: IdentityNumber(300)})
    assert [a.addresses for a in found.attachments] == [(B,)]
    assert "identity 301" in found.reports[0].message


def test_a_hundred_claims_are_told_in_a_line() -> None:
    found = settled([one(f"e{n:03}", f"veth{n}", A) for n in range(100)], {})
    assert len(found.reports) == 100
    assert all("and 96 more" in r.message for r in found.reports)
