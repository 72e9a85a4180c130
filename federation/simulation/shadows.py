"""Rules that are never reached, because an earlier one that applies to the same ends takes all that they would. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from federation.policy import model
from federation.policy.resolution import tier_order
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.resources.metadata import ObjectKey
from federation.rules.model import Port
from federation.selectors.tree import All, And, Node

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A rule of `policy` that the rule `by` of `owner` takes all of."""

    policy: ObjectKey
    rule: model.Rule
    owner: ObjectKey
    by: model.Rule


def shadows(world: World) -> Iterator[Shadow]:
    """All of them, within one policy and across the policies of one tier. One rule of a user may be several lines: all must be taken."""
    policies = [policy for policy in world.policies if not policy.is_staged]
    orders = {name: tier_order(world, name) for name in {policy.tier for policy in policies}}
    policies.sort(key=lambda policy: (orders[policy.tier], policy.rank))
    for direction in Direction:
        above: dict[tuple[str, model.Stage], _Above] = {}
        for policy in policies:
            rules = policy.rules(direction)
            if rules:
                earlier = above.setdefault((policy.tier, policy.stage), _Above())
                yield from _shadowed(policy, rules, earlier.over(policy))
                earlier.put(policy, rules)


Owned = tuple[ObjectKey, model.Rule]


@dataclass(slots=True)
class _Above:
    """Earlier policies of a tier, each hung on one thing that its subjects must be."""

    hung: dict[Node | None, list[tuple[model.Policy, frozenset[Node], list[Owned]]]] = field(
        default_factory=dict
    )

    def put(self, policy: model.Policy, rules: Iterable[model.Rule]) -> None:
        wanted = _conjuncts(policy.subject)
        anchor = min(wanted, key=repr, default=None)
        owned = [(policy.key, rule) for rule in rules]
        self.hung.setdefault(anchor, []).append((policy, wanted, owned))

    def over(self, policy: model.Policy) -> list[Owned]:
        """The rules of those that apply to every subject of this one."""
        wanted = _conjuncts(policy.subject)
        return [
            line
            for anchor in (None, *sorted(wanted, key=repr))
            for other, needs, owned in self.hung.get(anchor, ())
            if needs <= wanted and _has_kinds(other.subject, policy.subject)
            for line in owned
        ]


def _conjuncts(match: model.Match) -> frozenset[Node]:
    node = match.selector.node if match.selector else All()
    listed = node.operands if isinstance(node, And) else (node,)
    return frozenset(each for each in listed if not isinstance(each, All))


def _has_kinds(wide: model.Match, narrow: model.Match) -> bool:
    return wide.kinds is None or (narrow.kinds is not None and narrow.kinds <= wide.kinds)


def _shadowed(policy: model.Policy, rules: tuple[model.Rule, ...], above: list[Owned]) -> Iterator[Shadow]:
    lines: dict[tuple[str, int], list[model.Rule]] = {}
    for rule in rules:
        lines.setdefault((rule.section, rule.index), []).append(rule)
    earlier = list(above)
    for own in lines.values():
        by = [next((e for e in earlier if covers(e[1], line)), None) for line in own]
        if all(by) and own[0].action != "Log":
            owner, first = next(e for e in by if e is not None)
            yield Shadow(policy.key, own[0], owner, first)
        earlier += [(policy.key, line) for line in own]


def pointer_of(rule: model.Rule) -> str:
    """Where the user wrote it."""
    inside = "" if rule.section.startswith("specs/") else "/spec"
    return f"{inside}/{rule.section}/{rule.index}"


def covers(wide: model.Rule, narrow: model.Rule) -> bool:
    """Whether `wide` matches, and ends the search, wherever `narrow` matches. May say no where it is yes, never the other way."""
    if wide.action == "Log" or (wide.lacks and wide.action != "Deny"):
        return False
    if wide.ip_version not in (None, narrow.ip_version):
        return False
    if wide.protocol not in (None, narrow.protocol) or wide.not_protocol not in (None, narrow.not_protocol):
        return False
    if wide.icmp not in (None, narrow.icmp) or wide.not_icmp not in (None, narrow.not_icmp):
        return False
    return _end_covers(wide.source, narrow.source) and _end_covers(wide.destination, narrow.destination)


def _end_covers(wide: model.Match, narrow: model.Match) -> bool:
    if not wide.has_peer_terms:
        return _ports_cover(wide, narrow)
    if replace(wide, ports=(), not_ports=(), nets=()) != replace(narrow, ports=(), not_ports=(), nets=()):
        return False
    is_inside = not wide.nets or (
        bool(narrow.nets)
        and all(any(n.version == w.version and n.subnet_of(w) for w in wide.nets) for n in narrow.nets)  # type: ignore[arg-type]
    )
    return is_inside and _ports_cover(wide, narrow)


def _ports_cover(wide: model.Match, narrow: model.Match) -> bool:
    if wide.not_ports and wide.not_ports != narrow.not_ports:
        return False
    if not wide.ports:
        return True
    return bool(narrow.ports) and all(any(_port_covers(w, n) for w in wide.ports) for n in narrow.ports)


def _port_covers(wide: Port, narrow: Port) -> bool:
    if wide == narrow:
        return True
    one, other = _range(wide), _range(narrow)
    return one is not None and other is not None and one[0] <= other[0] and other[1] <= one[1]


def _range(port: Port) -> Range | None:
    low, _, high = str(port).partition(":")
    return (int(low), int(high or low)) if low.isdigit() and (high or low).isdigit() else None
