"""Holds the product to the reference: its simulator's answers, and its compiled tables walked as a kernel walks them."""

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings

from federation.compiler.compiler import compile_tables
from federation.identities import REMOTE_NODE, WORLD, IdentityNumber
from federation.policy.parties import labels_of
from federation.policy.tables import Direction, Tables, Verdict
from federation.policy.walk import Crossing, Packet, peer_row, walk, walk_host
from federation.policy.world import World
from federation.resources.metadata import ObjectKey
from federation.simulation.probes import Judge
from federation.simulation.reading import Simulation, read
from tests.federation.reference import ends
from tests.federation.reference.grounds import SAFE_TOO, Document, is_own_host, probes
from tests.federation.reference.judge import Reference
from tests.federation.reference.kubernetes import ends_of

WORLDS = settings(
    max_examples=int(os.environ.get("CAUSEWAY_WORLDS", "120")),
    derandomize="CAUSEWAY_WORLDS" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same worlds in every run, so that a change is what breaks a test; CAUSEWAY_WORLDS=5000 looks for new ones, at random."""
DIRECTIONS = {"ingress": Direction.INGRESS, "egress": Direction.EGRESS}
WORDS = {Verdict.ALLOW: "Allow", Verdict.DENY: "Deny"}
Probe = dict[str, Any]
Sides = tuple[str, str]


def simulated(documents: list[Document], home: str = "") -> Simulation:
    return read(((f"document {n}", d) for n, d in enumerate(documents)), home)


def answered(judge: Judge, probe: Probe) -> tuple[str, Sides]:
    """The simulator's verdict, and those of egress and ingress."""
    answer = judge.answer(probe)
    return answer["verdict"], (answer["egress"]["verdict"], answer["ingress"]["verdict"])


class Compiled:
    """The tables of all workloads of a world, as one node would have them."""

    def __init__(self, world: World) -> None:
        labels = {key: labels_of(endpoint) for key, endpoint in world.endpoints.items()}
        distinct = sorted({tuple(sorted(each.items())) for each in labels.values()})
        self.numbers = {
            key: IdentityNumber(256 + distinct.index(tuple(sorted(each.items()))))
            for key, each in labels.items()
        }
        world = replace(world, identities={self.numbers[key]: each for key, each in labels.items()})
        self.hosts = {place: host.endpoint for place, host in world.hosts.items() if host.endpoint}
        self.tables: Tables = compile_tables(world, world.endpoints, world.hosts)
        self._rows: dict[ends.Address, int] = {}

    def side(self, packet: ends.Packet, way: str) -> str | None:
        """What the walk says of one direction; None where no program looks."""
        subject, peer = ends_of(packet, way)
        if subject.kind != "pod" or is_own_host(subject, peer):
            return None
        direction, number = DIRECTIONS[way], self.tables.subjects[_key(subject)]
        return WORDS[walk(self.tables, number, direction, self.row(peer), _packet(packet))[0]]

    def host(self, packet: ends.Packet, way: str, *, is_forwarded: bool) -> str | None:
        """What the walk says of the host endpoint on one side, if there is one."""
        subject, peer = ends_of(packet, way)
        found = self.hosts.get((subject.cluster, subject.node))
        if found is None:
            return None
        crossing = Crossing(
            direction=DIRECTIONS[way], row=self.row(peer), own_row=self.row(subject), packet=_packet(packet), is_forwarded=is_forwarded,
        )  # fmt: skip
        return WORDS[walk_host(self.tables, self.tables.hosts[found], crossing)[0]]

    def row(self, end: ends.End) -> int:
        """The bits of an end."""
        if (row := self._rows.get(end.address)) is None:
            identity = {"outside": WORLD, "host": REMOTE_NODE}.get(end.kind) or self.numbers[_key(end)]
            row = self._rows[end.address] = peer_row(self.tables, identity, end.address)
        return row


def _packet(packet: ends.Packet) -> Packet:
    return Packet(
        protocol=packet.protocol, source_port=packet.source_port, destination_port=packet.port,
        icmp_type=packet.icmp[0], icmp_code=packet.icmp[1],
    )  # fmt: skip


def _key(end: ends.End) -> ObjectKey:
    return ObjectKey("Endpoint", *end.place)


def disagreement(documents: list[Document], home: str = "") -> str:
    """The first probe of which the product says something else than the reference; "" when they agree."""
    reference = Reference(documents, home)
    simulation = simulated(documents, home)
    judge, compiled = Judge(simulation), Compiled(simulation.world)
    for probe in probes(documents):
        packet = reference.packet(probe)
        sides = reference.sides(packet)
        verdict = "Allow" if sides == ("Allow", "Allow") else "Deny"
        if (found := answered(judge, probe)) != (verdict, sides):
            return f"{probe}: simulated {found}, reference {(verdict, sides)}"
        if packet.source.place == packet.destination.place != ("", "", ""):
            continue  # what goes to itself meets no program
        for way, said in zip(("egress", "ingress"), sides, strict=True):
            if (walked := compiled.side(packet, way)) not in (None, said):
                return f"{probe}: {way} walked {walked}, reference {said}"
    return ""


def disagreement_on_hosts(documents: list[Document]) -> str:
    """As `disagreement`, for worlds with host endpoints: of what is a host's own, and of what passes through it."""
    reference = Reference(documents)
    simulation = simulated(documents)
    judge, compiled = Judge(simulation), Compiled(simulation.world)
    for probe in probes(documents, SAFE_TOO):
        packet = reference.packet(probe)
        sides, on_the_way = reference.sides(packet), reference.forwards(packet)
        verdict = "Allow" if {*sides, *on_the_way} == {"Allow"} else "Deny"
        if (found := answered(judge, probe)) != (verdict, sides):
            return f"{probe}: simulated {found}, reference {(verdict, sides, on_the_way)}"
        if packet.source.place == packet.destination.place != ("", "", ""):
            continue
        for way, said in zip(("egress", "ingress"), sides, strict=True):
            subject, _ = ends_of(packet, way)
            walked = compiled.side(packet, way)
            if subject.kind == "host":
                walked = compiled.host(packet, way, is_forwarded=False)
            if walked not in (None, said):
                return f"{probe}: {way} walked {walked}, reference {said}"
        ways = (
            [way for way in ("egress", "ingress") if ends_of(packet, way)[0].kind == "pod"]
            if on_the_way
            else []
        )
        found_on_the_way = [compiled.host(packet, way, is_forwarded=True) for way in ways]
        if [said for said in found_on_the_way if said] != on_the_way:
            return f"{probe}: on the way walked {found_on_the_way}, reference {on_the_way}"
    return ""
