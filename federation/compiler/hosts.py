"""Hosts, each as each of its host endpoints has it: as peers by their addresses, and the own node's as subjects."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from federation.compiler.peers.inheritance import Heirs
from federation.compiler.peers.questions import Questions
from federation.compiler.peers.sources import Home, Name, Source, sources_of_host
from federation.compiler.subjects import HostKey, Subject, SubjectName
from federation.identities import CLUSTER_LABEL
from federation.policy.parties import Party, host_party
from federation.policy.tables import HostClasses, HostStage
from federation.policy.world import Host, World
from federation.resources.metadata import ObjectKey

IsOwn = Callable[[Host], bool]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What was made of a host."""

    faces: tuple[Host, ...] = ()
    names: frozenset[Name] = frozenset()
    subjects: frozenset[SubjectName] = frozenset()
    profiles: tuple[str, ...] = ()


@dataclass(slots=True)
class Hosts:
    """What is known of them. `is_own` says which host's host endpoints are subjects."""

    is_own: IsOwn
    questions: Questions
    heirs: Heirs
    further: dict[Home, tuple[Host, ...]] = field(default_factory=dict)
    """By host: as its host endpoints but the first have it."""
    _standing: dict[Home, _Standing] = field(default_factory=dict)

    def settle(self, world: World, changed: Iterable[Home]) -> dict[SubjectName, Party | None]:
        """Hosts that are new, or other than they were, or gone. What becomes of subjects; None: it is gone."""
        sources: dict[Name, Source | None] = {}
        subjects: dict[SubjectName, Party | None] = {}
        for home in changed:
            before, host = self._standing.pop(home, _Standing()), world.hosts.get(home)
            faces = () if host is None else (host, *self.further.get(home, ()))
            made = {name: source for face in faces for name, source in sources_of_host(world, face).items()}
            own = self._subjects(world, faces)
            sources |= {**dict.fromkeys(before.names), **made}
            subjects |= {**dict.fromkeys(before.subjects), **own}
            profiles = tuple(dict.fromkeys(name for face in faces for name in face.profiles))
            self._move_ports(before.faces, faces)
            labels = {CLUSTER_LABEL: home[0]}
            if before.faces:
                self.heirs.leave(home, labels, before.profiles)
            if faces:
                self.heirs.enter(home, labels, profiles)
                self._standing[home] = _Standing(faces, frozenset(made), frozenset(own), profiles)
        if sources:
            self.questions.resource(sources)
        return subjects

    def _subjects(self, world: World, faces: tuple[Host, ...]) -> dict[SubjectName, Party | None]:
        return {
            HostKey(face.endpoint, stage): host_party(world, face)
            for face in faces
            if face.endpoint is not None and self.is_own(face)
            for stage in HostStage
        }

    def _move_ports(self, before: tuple[Host, ...], after: tuple[Host, ...]) -> None:
        for old, new in zip_longest(before, after):
            added, removed = self.questions.holders.replace(old, new)
            if added or removed:
                self.questions.move_ports(added, removed)


def classes_of(endpoint: ObjectKey, subjects: Mapping[SubjectName, Subject]) -> HostClasses | None:
    """The class numbers of a host endpoint; None: it is no subject."""
    stages = [subjects.get(HostKey(endpoint, stage)) for stage in HostStage]
    numbers = [subject.class_number for subject in stages if subject is not None]
    if not numbers:
        return None
    untracked, pre_dnat, forward, normal = numbers
    return HostClasses(untracked=untracked, pre_dnat=pre_dnat, forward=forward, normal=normal)
