"""The compiled tables, walked, say what the reference engine says: on random worlds, for every pair."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.compiler.compiler import compile_tables
from federation.identities import REMOTE_NODE, IdentityNumber
from federation.identities import WORLD as OUTSIDE
from federation.kinds.endpoint import Endpoint
from federation.policy.evaluate import Engine
from federation.policy.parties import Probe, protocol_number
from federation.policy.tables import Direction, Tables, Verdict
from federation.policy.walk import Crossing, Packet, peer_row, walk, walk_host
from federation.policy.world import Host, World
from tests.federation.compiler.worlds import WORLD_ADDRESSES, numbered, worlds, worlds_of_hosts

Ends = dict[Any, Endpoint | Host]


def ends_of(world: World) -> Ends:
    """Who has which address; of a host that several host endpoints share, the host as one has it."""
    found: Ends = {}
    for each in world.endpoints.values():
        found |= dict.fromkeys(each.spec.addresses, each)
    for host in (*world.hosts.values(), *world.faces):
        found |= dict.fromkeys(host.addresses, host)
    return found


def place_of(end: Endpoint | Host | None) -> tuple[str, str] | None:
    if isinstance(end, Host):
        return end.cluster, end.name
    return None if end is None else (end.metadata.cluster, end.spec.node)


class Walker:
    """Asks tables as a kernel does: the lists of both ends, and of the host endpoints on the way."""

    def __init__(self, world: World, tables: Tables, numbers: dict[Any, IdentityNumber]) -> None:
        self.world, self.tables, self.numbers = world, tables, numbers
        self.ends = ends_of(world)

    def verdict(self, probe: Probe) -> Verdict:
        packet = Packet(
            protocol=protocol_number(probe.protocol), source_port=probe.source_port, destination_port=probe.destination_port,
            icmp_type=probe.icmp_type, icmp_code=probe.icmp_code,
        )  # fmt: skip
        verdicts = [Verdict.ALLOW]
        for own, peer, direction in (
            (probe.source, probe.destination, Direction.EGRESS), (probe.destination, probe.source, Direction.INGRESS),
        ):  # fmt: skip
            verdicts += self.side(own, peer, direction, packet)
        return min(verdicts)

    def row(self, address: Any) -> int:
        end = self.ends.get(address)
        identity = OUTSIDE if end is None else REMOTE_NODE if isinstance(end, Host) else self.numbers[end.key]
        return peer_row(self.tables, identity, address)

    def side(self, own: Any, peer: Any, direction: Direction, packet: Packet) -> Iterator[Verdict]:
        subject, other = self.ends.get(own), self.ends.get(peer)
        is_near = place_of(subject) == place_of(other)
        crossing = Crossing(
            direction=direction, row=self.row(peer), own_row=self.row(own), packet=packet,
            is_forwarded=not isinstance(subject, Host),
        )  # fmt: skip
        if isinstance(subject, Host):
            yield from self.host(subject, crossing)
        elif subject is not None:
            is_own_host = is_near and isinstance(other, Host)
            if not (
                is_own_host and direction is Direction.INGRESS
            ):  # what its own host sends meets no program
                number = self.tables.subjects[subject.key]
                yield walk(self.tables, number, direction, crossing.row, packet)[0]
            host = self.world.hosts.get((subject.metadata.cluster, subject.spec.node))
            if host is not None and not is_near:
                yield from self.host(host, crossing)

    def host(self, host: Host, crossing: Crossing) -> Iterator[Verdict]:
        if host.endpoint is not None:
            yield walk_host(self.tables, self.tables.hosts[host.endpoint], crossing)[0]


def is_one_host(walker: Walker, source: Any, destination: Any) -> bool:
    """Whether a host would speak to itself."""
    ends = [walker.ends.get(each) for each in (source, destination)]
    return all(isinstance(end, Host) for end in ends) and place_of(ends[0]) == place_of(ends[1])


QUESTIONS: list[tuple[str | int, int]] = [("TCP", 80), ("TCP", 8080), ("TCP", 22), ("UDP", 53), ("SCTP", 9)]


def compare(documents: list[dict[str, Any]], rng: random.Random) -> None:
    """Every pair of ends asked every question."""
    world, numbers = numbered(documents)
    walker = Walker(world, compile_tables(world, world.endpoints, world.hosts), numbers)
    engine = Engine(world)
    for source, destination in product([*walker.ends, *WORLD_ADDRESSES], repeat=2):
        if source.version != destination.version or is_one_host(walker, source, destination):
            continue
        for protocol, port in [*QUESTIONS, (58 if source.version == 6 else 1, 0)]:
            probe = Probe(
                source=source, destination=destination, protocol=protocol, destination_port=port,
                source_port=rng.choice([80, 22, 40000]), icmp_type=rng.choice([8, 128]), icmp_code=rng.choice([0, 1]),
            )  # fmt: skip
            assert walker.verdict(probe) == engine.decide(probe).verdict, probe


@settings(max_examples=80, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_tables_say_what_the_reference_engine_says(
    documents: list[dict[str, Any]], rng: random.Random
) -> None:
    compare(documents, rng)


@settings(max_examples=60, deadline=None)
@given(worlds_of_hosts(), st.randoms(use_true_random=False))
def test_hosts_lists_stage_by_stage_say_what_the_reference_engine_says(
    documents: list[dict[str, Any]], rng: random.Random
) -> None:
    compare(documents, rng)


@settings(max_examples=40, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_tables_do_not_depend_on_the_order_of_the_world(
    documents: list[dict[str, Any]], rng: random.Random
) -> None:
    world, _ = numbered(documents)
    policies, sets = list(world.policies), list(world.network_sets)
    rng.shuffle(policies)
    rng.shuffle(sets)
    shuffled = replace(
        world, tiers=dict(reversed(world.tiers.items())), policies=tuple(policies), network_sets=tuple(sets),
        identities=dict(reversed(world.identities.items())), endpoints=dict(reversed(world.endpoints.items())),
        hosts=dict(reversed(world.hosts.items())), profiles=dict(reversed(world.profiles.items())),
    )  # fmt: skip
    assert compile_tables(shuffled, world.endpoints, world.hosts) == compile_tables(
        world, world.endpoints, world.hosts
    )
