"""The reference engine: a verdict straight from the resources, naive and readable. Tables and kernel must agree with it."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from federation.policy.parties import Party, Probe, party_of, protocol_number
from federation.policy.resolution import tiers_of
from federation.policy.scope import Scope, scope_of, terms_of
from federation.policy.tables import Direction, RuleReference, Verdict
from federation.policy.world import World
from federation.rules.model import EntityRule, Port, Prefix, Rule
from federation.selectors import Selector


@dataclass(frozen=True, slots=True)
class SideDecision:
    """What one end's policies say. Without a reference nothing selected the end, or every tier passed."""

    verdict: Verdict
    reference: RuleReference | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a connection: both ends must allow."""

    egress: SideDecision
    ingress: SideDecision

    @property
    def verdict(self) -> Verdict:
        """Allow when both sides do."""
        return min(self.egress.verdict, self.ingress.verdict)


UNPOLICED = SideDecision(Verdict.ALLOW, None)


def evaluate(world: World, probe: Probe) -> Decision:
    """Judge one new connection. Raises KeyError for an end that is not in the world."""
    source, destination = party_of(world, probe.source), party_of(world, probe.destination)
    return Decision(
        egress=judge(world, source, destination, Direction.EGRESS, probe),
        ingress=judge(world, destination, source, Direction.INGRESS, probe),
    )


def judge(world: World, subject: Party, peer: Party, direction: Direction, probe: Probe) -> SideDecision:
    """What the policies of one end say."""
    if subject.labels is None:
        return UNPOLICED
    for tier in tiers_of(world, subject.labels, direction):
        outcome: str | None = None
        for policy in tier.policies:
            rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
            scope = scope_of(policy, subject.cluster)
            source, destination = (peer, subject) if direction is Direction.INGRESS else (subject, peer)
            for index, rule in enumerate(rules):
                if rule.action == "Log" or not _matches(world, rule, scope, (source, destination), probe):
                    continue
                outcome = rule.action
                if outcome != "Pass":
                    verdict = Verdict.ALLOW if outcome == "Allow" else Verdict.DENY
                    return SideDecision(
                        verdict, RuleReference(tier=tier.name, policy=policy.key, index=index)
                    )
                break
            if outcome is not None:
                break
        if outcome is None and not tier.is_passing:
            return SideDecision(Verdict.DENY, RuleReference(tier=tier.name, policy=None, index=None))
    return UNPOLICED


def _matches(world: World, rule: Rule, scope: Scope, ends: tuple[Party, Party], probe: Probe) -> bool:
    protocol = protocol_number(probe.protocol)
    if rule.ip_version == 6:
        return False
    if rule.protocol is not None and protocol_number(rule.protocol) != protocol:
        return False
    if rule.not_protocol is not None and protocol_number(rule.not_protocol) == protocol:
        return False
    if rule.icmp and not _icmp(rule.icmp.type, rule.icmp.code, probe, protocol):
        return False
    if rule.not_icmp and (protocol != 1 or _icmp(rule.not_icmp.type, rule.not_icmp.code, probe, protocol)):
        return False
    source, destination = ends
    return _end_matches(world, rule.source, scope, source, (protocol, probe.source_port)) and _end_matches(
        world, rule.destination, scope, destination, (protocol, probe.destination_port)
    )


def _icmp(wanted_type: int | None, wanted_code: int | None, probe: Probe, protocol: int) -> bool:
    return protocol == 1 and wanted_type in (None, probe.icmp_type) and wanted_code in (None, probe.icmp_code)


def _end_matches(world: World, entity: EntityRule, scope: Scope, party: Party, port: tuple[int, int]) -> bool:
    terms = terms_of(entity, scope)
    if terms.selector and not selects(world, terms.selector, party):
        return False
    if terms.not_selector and selects(world, terms.not_selector, party):
        return False
    if terms.nets and not _in_nets(party.address, terms.nets):
        return False
    if terms.not_nets and (
        all(n.version == 6 for n in terms.not_nets) or _in_nets(party.address, terms.not_nets)
    ):
        return False
    if entity.ports and not any(_port_matches(wanted, party, port) for wanted in entity.ports):
        return False
    return not any(_port_matches(unwanted, party, port) for unwanted in entity.not_ports)


def selects(world: World, selector: Selector, party: Party) -> bool:
    """Whether a selector selects an end: by its labels, or by a network set that holds its address."""
    if party.labels is not None and selector.matches(party.labels):
        return True
    return any(
        _in_nets(party.address, s.spec.nets) and selector.matches(s.metadata.labels)
        for s in world.network_sets
    )


def _in_nets(address: IPv4Address | None, nets: tuple[Prefix, ...]) -> bool:
    return address is not None and any(address in net for net in nets)


def _port_matches(wanted: Port, party: Party, port: tuple[int, int]) -> bool:
    protocol, number = port
    if protocol not in (6, 17, 132, 136):
        return False
    if isinstance(wanted, int):
        return wanted == number
    low, separator, high = wanted.partition(":")
    if separator or wanted.isdigit():
        return int(low) <= number <= int(high or low)
    return (protocol, number) in party.named_ports(wanted)
