"""Which of the node's interfaces drop at the driver what their doNotTrack lists deny, and how. Where that cannot be, from_network denies it, at the
cost of a packet."""

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from federation.errors import CausewayError, DriverError, PlatformLack
from federation.policy.tables import Direction, HostStage, RuleAction
from nodeagent.dataplane.ebpf.bpf import errno_of
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.dataplane.ebpf.hosts.rounds import Round
from nodeagent.dataplane.ebpf.plan import HostPlace
from nodeagent.dataplane.linux import xdp
from nodeagent.dataplane.linux.xdp import Mode

LOG = structlog.get_logger("datapath")
CHOICES: Mapping[str, tuple[Mode, ...]] = {
    "auto": (Mode.NATIVE, Mode.GENERIC),
    "generic": (Mode.GENERIC,),
    "off": (),
}
"""Values of the setting `xdp`: modes to try, in this order."""
UNTRACKED = list(HostStage).index(HostStage.UNTRACKED) * len(Direction) + Direction.INGRESS
"""Place of the list in HostPlace.lists (programs/early.c: INGRESS)."""
LOST = "what doNotTrack policies deny is denied behind the driver, which takes longer"


class Early:
    """The XDP programs of one node, whose links are pinned in `pins`. `drifted` is told what was found altered by hand."""

    def __init__(
        self, pins: Path, modes: tuple[Mode, ...], drifted: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self._pins = pins
        self._modes = modes
        self._drifted = drifted
        self._hung: dict[int, Mode] = {}
        """What this object itself has hung, from the generation that stands."""
        self._told: dict[int, str] = {}
        """What was said last of an interface, so that it is said once."""

    def converge(self, faces: Round, program: Path, *, must_look: bool) -> None:
        """Hang the program where it is of use and can be, and take it off elsewhere. Raises DriverError or PlatformLack when we may not
        even look."""
        wanted = {i for i, place in faces.places.items() if self._modes and denies(place)}
        hung = xdp.look(self._pins) if must_look else dict(self._hung)
        hindered = {i: why for i in wanted if (why := hindrance(faces.interfaces[i]))}
        for index in hung.keys() - (wanted - hindered.keys()):
            xdp.detach(index, self._pins)
        self._hung = {i: mode for i, mode in self._hung.items() if i in wanted and i not in hindered}
        self._told = {i: said for i, said in self._told.items() if i in wanted}
        for index in sorted(wanted):
            name = faces.names[index]
            if index in hindered:
                self._say(index, name, hindered[index])
            elif index not in self._hung or hung.get(index) is not self._hung[index]:
                self._hang(index, name, program)

    def forget(self) -> None:
        """Another generation's program is to hang, in the same links."""
        self._hung = {}

    def withdraw(self) -> None:
        """Take all of ours off."""
        for index in xdp.look(self._pins):
            xdp.detach(index, self._pins)

    def _hang(self, index: int, name: str, program: Path) -> None:
        had = self._hung.pop(index, None)
        try:
            mode = xdp.attach(index, program, self._pins, self._modes)
        except (DriverError, PlatformLack) as error:
            self._say(index, name, _reason(error))
            return
        self._hung[index] = mode
        if had is not None:
            self._drifted(f"xdp {name}", "removed")
        is_slower = mode is Mode.GENERIC and Mode.NATIVE in self._modes
        self._say(index, name, "the driver has no XDP of its own" if is_slower else "", mode)

    def _say(self, index: int, name: str, why: str, mode: Mode | None = None) -> None:
        said = f"{mode} {why}"
        if self._told.get(index) == said:
            return
        self._told[index] = said
        if mode is None:
            LOG.warning("xdp was left out", interface=name, detail=f"{why}: {LOST}")
        else:
            LOG.info("xdp was hung", interface=name, mode=str(mode), detail=why)


def denies(place: HostPlace) -> bool:
    """Whether its list of UNTRACKED denies anything that comes in."""
    return any(line.action is RuleAction.DENY for line in place.lists[UNTRACKED])


def hindrance(interface: Interface) -> str:
    """Why no program may hang at an interface's driver; empty: one may."""
    if interface.is_bare:
        return "its packets have no Ethernet header"
    if interface.is_part:
        return "it is a part of another interface"
    if interface.has_tags:
        return "VLANs lie on it, whose tags a driver may hide"
    return ""


def _reason(error: CausewayError) -> str:
    if errno_of(error) in xdp.HELD:
        return "somebody else's XDP program hangs there, and is left alone"
    return error.message
