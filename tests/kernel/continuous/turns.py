"""Policies that follow each other by chance, made so that some flows are always allowed, some never, and one now and then.

What allows or denies them changes all the time (identities, bits, prefixes, places of rules), so that half of a change would show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from random import Random

from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import CompiledRule, Direction, RuleAction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.drivers import Attachment, DesiredPolicy

ALWAYS_UDP, NEVER_UDP, FLIP_UDP = 7000, 7001, 7002
ALWAYS_TCP, NEVER_TCP = 8000, 8001
SENDERS, RECEIVER = (1, 2), 3
TCP, UDP = 6, 17
PLATEAU = 50
"""Turns between two changes of what the flip may do."""
NETS = tuple(
    IPv4Network(text)
    for text in ("10.10.0.0/16", "10.10.1.0/24", "10.10.1.0/29", "10.10.1.1/32", "10.10.1.2/31")
)
ALLOW, DENY = RuleAction.ALLOW, RuleAction.DENY
Rules = tuple[CompiledRule, ...]


def address(pod: int) -> IPv4Address:
    return IPv4Address(f"10.10.1.{pod}")


@dataclass(frozen=True, kw_only=True)
class Makings:
    """What a turn is made of; any of it may change."""

    numbers: tuple[int, ...] = (300, 301, 302)
    """Identities of the pods."""
    bits: tuple[int, ...] = (0, 1, 2)
    """Of who is always let in, of who is never, and of who is when the flip is on."""
    by_net: tuple[bool, ...] = (False, False, False)
    """Whether prefixes, instead of identities, have those bits."""
    nets: int = 0
    """Which prefixes there are beside the widest, by bit."""
    noise: int = 0
    """Seed of rules that concern nobody, and of the places of those that do."""
    length: int = 5
    """How many concern nobody."""
    is_trapped: bool = True
    """Whether what is never allowed is denied before a rule that would allow it, or is just not named."""


@dataclass(frozen=True)
class Turn:
    """One policy. `flip`: whether the flow that is allowed now and then is."""

    desired: DesiredPolicy
    flip: bool


def turns(seed: int, count: int) -> list[Turn]:
    chance, makings, made = Random(seed), Makings(), []
    for number in range(count):
        flip = number // PLATEAU % 2 == 1
        made.append(Turn(desired_of(makings, flip=flip), flip))
        prove(made[-1])
        for _ in range(chance.choice((1, 1, 1, 2, 7))):
            makings = moved(makings, chance)
    return made


def moved(was: Makings, chance: Random) -> Makings:
    changes = (
        lambda: replace(was, numbers=tuple(chance.sample(range(300, 320), 3))),
        lambda: replace(was, bits=tuple(chance.sample(range(150), 3))),
        lambda: replace(was, by_net=tuple(chance.random() < 0.5 for _ in was.bits)),
        lambda: replace(was, nets=chance.randrange(2 ** (len(NETS) - 1))),
        lambda: replace(was, noise=chance.randrange(2**32)),
        lambda: replace(was, length=chance.choice((0, 5, 40, 90))),
        lambda: replace(was, is_trapped=chance.random() < 0.5),
    )
    return chance.choice(changes)()


def desired_of(makings: Makings, *, flip: bool) -> DesiredPolicy:
    senders, nets = 0, 0
    for bit, by_net in zip(makings.bits, makings.by_net, strict=True):
        senders |= 0 if by_net else 1 << bit
        nets |= 1 << bit if by_net else 0
    own = 1 << 160  # who may be sent to
    rows = {IdentityNumber(n): senders for n in makings.numbers[:2]}
    rows[IdentityNumber(makings.numbers[2])] = own
    held = [NETS[0], *(net for n, net in enumerate(NETS[1:]) if makings.nets >> n & 1)]
    lists = (receiving(makings, flip=flip), sending(makings))
    tables = Tables(
        bit_count=161,
        identity_rows=rows,
        prefix_rows=dict.fromkeys(held, nets) if nets else {},
        classes=((lists[0], (CompiledRule(action=DENY),)), ((CompiledRule(action=DENY),), lists[1])),
    )
    return DesiredPolicy(
        tables=tables,
        addresses={address(n + 1): IdentityNumber(number) for n, number in enumerate(makings.numbers)},
        attachments=tuple(
            Attachment(
                endpoint=f"dc1/shop/e{pod}",
                interface=f"pod{pod}",
                class_number=0 if pod == RECEIVER else 1,
                identity=IdentityNumber(makings.numbers[pod - 1]),
                addresses=(address(pod),),
            )
            for pod in (*SENDERS, RECEIVER)
        ),
    )


def receiving(makings: Makings, *, flip: bool) -> Rules:
    """What the receiver is sent. Replies go by their connections: it may open none."""

    def to(role: int, protocol: int, port: int, action: RuleAction) -> CompiledRule:
        asked = {"net_bit" if makings.by_net[role] else "bit": makings.bits[role]}
        return CompiledRule(action=action, protocol=protocol, destination_ports=(port, port), **asked)

    anybody = partial(CompiledRule, action=ALLOW)
    never = ((UDP, NEVER_UDP), (TCP, NEVER_TCP))
    rules = [to(1, protocol, port, DENY) for protocol, port in never if makings.is_trapped]
    rules += [to(0, UDP, ALWAYS_UDP, ALLOW), to(0, TCP, ALWAYS_TCP, ALLOW)]
    rules += [to(2, UDP, FLIP_UDP, ALLOW)] if flip else []
    rules += [anybody(protocol=p, destination_ports=(port, port)) for p, port in never if makings.is_trapped]
    return noisy(makings, [*rules, CompiledRule(action=DENY)])


def sending(makings: Makings) -> Rules:
    """What senders may send: anything to the receiver, and nothing else."""
    return noisy(makings, [CompiledRule(action=ALLOW, bit=160), CompiledRule(action=DENY)])


def noisy(makings: Makings, rules: Sequence[CompiledRule]) -> Rules:
    """The same rules in their order, between others that match nothing that is sent."""
    chance, mixed = Random(makings.noise), list(rules)
    for _ in range(makings.length):
        port, action = chance.randrange(20000, 60000), chance.choice((ALLOW, DENY))
        other = CompiledRule(action=action, protocol=chance.choice((TCP, UDP)), bit=chance.randrange(150), destination_ports=(port, port))  # fmt: skip
        mixed.insert(chance.randrange(len(mixed)), other)
    return tuple(mixed)


def prove(turn: Turn) -> None:
    """That a turn says what it is meant to say, by the pure walk."""
    desired = turn.desired
    for pod in SENDERS:
        for protocol, port, wanted in (
            (UDP, ALWAYS_UDP, True),
            (TCP, ALWAYS_TCP, True),
            (UDP, NEVER_UDP, False),
            (TCP, NEVER_TCP, False),
            (UDP, FLIP_UDP, turn.flip),
        ):
            said = []
            for number, direction, peer in ((1, Direction.EGRESS, RECEIVER), (0, Direction.INGRESS, pod)):
                row = peer_row(desired.tables, desired.addresses.get(address(peer), WORLD), address(peer))
                packet = Packet(protocol=protocol, source_port=40000, destination_port=port)
                said.append(walk(desired.tables, number, direction, row, packet)[0])
            assert (min(said) is Verdict.ALLOW) is wanted, (pod, port)
