"""Holds the product to the reference: its simulator's answers, and its compiled tables walked as a kernel walks them."""

import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings

from federation.compiler.compiler import compile_tables
from federation.identities import REMOTE_NODE, WORLD, IdentityNumber
from federation.policy.parties import labels_of
from federation.policy.tables import Direction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from federation.policy.world import World
from federation.resources.metadata import ObjectKey
from federation.simulation.probes import Judge
from federation.simulation.reading import Simulation, read
from tests.federation.reference import ends
from tests.federation.reference.grounds import Document, is_own_host, probes
from tests.federation.reference.judge import Reference
from tests.federation.reference.kubernetes import ends_of

WORLDS = settings(
    max_examples=int(os.environ.get("CAUSEWAY_WORLDS", "120")),
    derandomize="CAUSEWAY_WORLDS" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same worlds in every run, so that a change is what breaks a test; CAUSEWAY_WORLDS=5000 looks for new ones, at random."""
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
        self.tables: Tables = compile_tables(world, world.endpoints)
        self._rows: dict[ends.Address, int] = {}

    def side(self, packet: ends.Packet, way: str) -> str | None:
        """What the walk says of one direction; None where no program looks."""
        subject, peer = ends_of(packet, way)
        if subject.kind != "pod" or is_own_host(subject, peer):
            return None
        identity = {"outside": WORLD, "host": REMOTE_NODE}.get(peer.kind) or self.numbers[_key(peer)]
        if (row := self._rows.get(peer.address)) is None:
            row = self._rows[peer.address] = peer_row(self.tables, identity, peer.address)
        asked = Packet(
            protocol=packet.protocol, source_port=packet.source_port, destination_port=packet.port,
            icmp_type=packet.icmp[0], icmp_code=packet.icmp[1],
        )  # fmt: skip
        direction = Direction.INGRESS if way == "ingress" else Direction.EGRESS
        verdict, _ = walk(self.tables, self.tables.subjects[_key(subject)], direction, row, asked)
        return "Allow" if verdict is Verdict.ALLOW else "Deny"


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
