"""A rule that does not match always says why."""

from hypothesis import assume, given
from hypothesis import strategies as st

from federation.policy.tables import NO_BIT, CompiledRule, RuleAction
from federation.policy.walk import Packet, matches
from nodeagent.dataplane.ebpf.inspect.conditions import mismatch

BIT = st.sampled_from((NO_BIT, 0, 1))
PORTS = st.sampled_from(((0, 65535), (80, 80), (1000, 2000)))
PORT = st.sampled_from((0, 80, 1500))
LINES = st.builds(
    CompiledRule,
    action=st.just(RuleAction.ALLOW), bit=BIT, not_bit=BIT, net_bit=BIT, not_net_bit=BIT, protocol=st.sampled_from((0, 1, 6, 17)),
    is_protocol_negated=st.booleans(), source_ports=PORTS, destination_ports=PORTS, icmp_type=st.sampled_from((-1, 0, 8)),
    icmp_code=st.sampled_from((-1, 0)), is_icmp_negated=st.booleans(),
)  # fmt: skip
PACKETS = st.builds(
    Packet, protocol=st.sampled_from((1, 6, 47)), source_port=PORT, destination_port=PORT, icmp_type=st.sampled_from((0, 8))
)  # fmt: skip


@given(LINES, st.integers(0, 3), PACKETS)
def test_what_does_not_match_has_a_reason(line: CompiledRule, row: int, packet: Packet) -> None:
    assume(not matches(line, row, packet))
    assert mismatch(line, row, packet)


def test_reasons_name_what_was_asked_and_what_was_there() -> None:
    def why(packet: Packet, **asked: object) -> str:
        return mismatch(CompiledRule(action=RuleAction.ALLOW, **asked), 0b10, packet)  # type: ignore[arg-type]

    web = Packet(protocol=6, destination_port=80, source_port=5)
    assert why(web, bit=0) == "the peer does not match its selector (predicate 0)"
    assert why(web, not_net_bit=1) == "the peer does not match its negated prefixes (predicate 1)"
    assert why(web, protocol=17) == "protocol 6 is not 17"
    assert why(web, protocol=6, is_protocol_negated=True) == "protocol 6 is excluded"
    assert why(web, destination_ports=(443, 443)) == "destination port 80 is not 443"
    assert why(web, source_ports=(6, 9)) == "source port 5 is not in 6-9"
    assert why(web, icmp_type=8) == "it asks an ICMP type"
    assert why(Packet(protocol=1), icmp_type=8) == "ICMP type 0 code 0 does not match"
    assert why(Packet(protocol=47), destination_ports=(0, 80)) == "it asks ports, which the protocol has not"
