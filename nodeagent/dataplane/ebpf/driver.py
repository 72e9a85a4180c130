"""The verdict driver: desired policy into pinned maps, and the programs onto endpoints' interfaces.

What to write, and in which order, is plan.py's; here it is done. An endpoint that cannot be given the programs is closed off, and said
to be; one that has them keeps its last good policy. See docs/design/ebpf.md.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import assert_never

import structlog

from federation.errors import CausewayError, DriverError, PlatformLack
from nodeagent.dataplane.ebpf import bpf, layout, loader, plan
from nodeagent.dataplane.ebpf.bpf import PinnedMap
from nodeagent.dataplane.ebpf.hosts.early import CHOICES, Early
from nodeagent.dataplane.ebpf.hosts.rounds import Round, Rounds
from nodeagent.dataplane.ebpf.plan import Place, Planner
from nodeagent.dataplane.ebpf.upkeep import claims, generations
from nodeagent.dataplane.ebpf.upkeep.drift import Comparison
from nodeagent.dataplane.ebpf.upkeep.pins import Pins
from nodeagent.dataplane.ebpf.writes import Delete, Sweep, Update, Write
from nodeagent.dataplane.linux import barriers, links
from nodeagent.dataplane.linux.filters import Hung
from nodeagent.dataplane.linux.hooks import FOLDER, Hooks
from nodeagent.drivers import ANYTHING, DRIFT, Address, Attachment, DesiredPolicy, ObjectReport, Touched

LOG = structlog.get_logger("datapath")
COMPILE_SECONDS = 60.0
LOOK_SECONDS = 10.0
"""How old what was seen of filters and barriers may be in a round that changes policy. A round that changes nothing always looks."""
LOG_LINES = 12
"""Of the verifier's log, when it refuses."""
VERIFY_SECONDS = 30.0
"""The same of maps and pins."""


class EbpfDriver:
    """Driver[DesiredPolicy] of the Linux kernel. `pin_dir` is this node's own folder of a bpffs."""

    def __init__(
        self,
        pin_dir: Path,
        state_dir: Path,
        compile_seconds: float = COMPILE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        is_direct: bool = True,
        has_tcx: bool | None = None,
        xdp: str = "auto",
    ) -> None:
        """`is_direct`: packets between two endpoints of the node need not go through its stack. `has_tcx`: None: found out. `xdp`: a key of
        early.CHOICES."""
        self._monotonic = monotonic
        self._is_direct = is_direct
        self._elsewhere: dict[int, bool] = {}
        """Whether interfaces lead into other namespaces."""
        self._hooks = Hooks(pin_dir, has_tcx)
        self._rounds = Rounds(links.interfaces)
        self._early = Early(pin_dir / FOLDER, CHOICES[xdp], self._drifted)
        self._hung = Hung()
        self.pin_dir = pin_dir
        self.work_dir = state_dir
        self.compile_seconds = compile_seconds
        self.maps: dict[str, PinnedMap] = {}
        self.planner = Planner()
        self.attached: dict[int, tuple[str, ...]] = {}
        """Interfaces that this driver itself hung its programs on: a former agent's programs may be older ones."""
        self._last: DesiredPolicy | None = None
        self.drifts: Counter[str] = Counter()
        """What was found altered by hand, and put right, by kind."""
        self._found: list[ObjectReport] = []
        self._pins: Pins | None = None
        self._comparison = Comparison(monotonic)
        self._looked_at = -LOOK_SECONDS
        self._verified_at = -VERIFY_SECONDS
        self._closed: dict[str, tuple[Address, ...]] = {}

    @cached_property
    def generation(self) -> Path:
        """The folder of pins of exactly these programs and layouts."""
        content = loader.source().encode() + repr(layout.SIZES).encode()
        return self.pin_dir / hashlib.sha256(content).hexdigest()[:12]

    def converge(self, desired: DesiredPolicy) -> tuple[ObjectReport, ...]:
        """Make the kernel judge as desired. Raises PlatformLack or DriverError when nothing can be done: then what stands goes on, and
        endpoints without programs are closed off."""
        try:
            return self._converge(desired)
        except (DriverError, PlatformLack) as error:
            self.close()
            self._close_new_ones_off(desired, error)
            raise

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Take filters, rules and pins of ours away, and nothing else."""
        for index in self._hooks.look().ours:
            self._hooks.detach(index)
        self._early.withdraw()
        barriers.close_off({})
        self.close()
        shutil.rmtree(self.pin_dir, ignore_errors=True)
        return ()

    def close(self) -> None:
        """Give descriptors back; what is pinned goes on."""
        for pinned in self.maps.values():
            pinned.close()
        self.maps = {}
        if self._pins is not None:
            self._pins.close()
        self._pins = None
        self._comparison = Comparison(self._monotonic)
        self.planner = Planner()
        self.attached = {}
        self._early.forget()
        self._last = None

    def _converge(self, desired: DesiredPolicy) -> tuple[ObjectReport, ...]:
        self._open()
        self._found = []
        if self._last is not None and (
            desired is self._last or self._is_due(self._verified_at, VERIFY_SECONDS)
        ):
            self._verify()
        must_look = desired is self._last or self._last is None or self._is_due(self._looked_at, LOOK_SECONDS)
        if must_look:
            self._hung, self._looked_at = self._hooks.look(), self._monotonic()
        too_long = f"more than {layout.MAX_RULES} rules or {layout.ROW_BITS} selectors: denied"
        reports = [_fault(a, too_long) for a in desired.attachments if not _is_walkable(desired, a)]
        indexes = {a.interface: links.index_of(a.interface) for a in desired.attachments}
        missing = [a for a in desired.attachments if indexes[a.interface] is None]
        reports += [_fault(a, f"interface {a.interface} does not exist") for a in missing]
        there = [a for a in desired.attachments if indexes[a.interface] is not None]
        attachments = {index: a for a in there if (index := indexes[a.interface]) is not None}
        own = claims.settled(there, desired.addresses)
        reports += own.reports
        places = {
            index: Place(
                a.addresses, a.identity, plan.lists_of(desired.tables, a.class_number), a.mac, direct
            )
            for a in own.attachments
            if (index := indexes[a.interface]) is not None
            for direct in [self._takes_direct(index)]
        }
        self._elsewhere = {i: leads for i, leads in self._elsewhere.items() if i in places}
        own_faces = self._rounds.next(desired, attachments.keys(), must_look=must_look)
        reports += own_faces.reports
        todo = self.planner.plan(desired, places, self._touched_by(desired), own_faces.places)
        for write in todo.writes:
            self._do(write)
        reports += self._without_room(todo.without_room, attachments, own_faces)
        names = {**{index: a.interface for index, a in attachments.items()}, **own_faces.names}
        failed = self._attach(names, own_faces.names.keys(), must_look=must_look)
        self._early.converge(own_faces, self.generation / loader.EARLY, must_look=must_look)
        faults = [(attachments[i], error) for i, error in failed.items() if i in attachments]
        reports += [
            own_faces.fault(i, f"it stays open: {error}", error.code)
            for i, error in failed.items()
            if i in own_faces.hosts
        ]
        closed = _by_interface([*missing, *(a for a, _ in faults)])
        if must_look or closed != self._closed:
            added, removed = barriers.close_off(closed)
            if (added or removed) and self._last is not None and closed == self._closed:
                self._drifted("rule of routing", f"{len(added)} missing, {len(removed)} too many")
            generations.remove_others(self.pin_dir, self.generation)
        self._closed, self._last = closed, desired
        return (*reports, *self._found, *(_fault(a, str(error), error) for a, error in faults))

    def _without_room(
        self, indexes: Iterable[int], attachments: Mapping[int, Attachment], own_faces: Round
    ) -> list[ObjectReport]:
        """An endpoint is denied all; a node is not closed off."""
        return [
            _fault(attachments[i], "no room for its rules: denied")
            if i in attachments
            else own_faces.fault(i, "no room for its rules: it stays open")
            for i in sorted(indexes)
        ]

    def _takes_direct(self, index: int) -> bool:
        """Whether other endpoints may hand packets to this one. Somebody else's filters on its interface would not see them."""
        if not self._is_direct or index in self._hung.shared:
            return False
        if index not in self._elsewhere:
            self._elsewhere[index] = links.leads_elsewhere(index)
        return self._elsewhere[index]

    def _touched_by(self, desired: DesiredPolicy) -> Touched:
        """What may differ from what stands."""
        last = self._last
        if last is None or desired.journal is None or desired.journal is not last.journal:
            return ANYTHING
        return desired.journal.between(last.serial, desired.serial)

    def _do(self, write: Write) -> None:
        pinned = self.maps[write.map]
        self._comparison.wrote(write.map)
        match write:
            case Update():
                pinned.update(write.entries)
            case Delete():
                pinned.delete(write.keys)
            case Sweep():
                pinned.delete(
                    [key for key, _ in pinned.items() if layout.bank_in(write.map, key) not in write.kept]
                )
            case _:
                assert_never(write)

    def _open(self) -> None:
        if self.maps:
            return
        folder = self.generation
        if not bpf.is_bpffs(self.pin_dir):
            hint = "mount -t bpf bpf /sys/fs/bpf; routes and tunnels still work"
            raise PlatformLack(f"no bpffs is mounted at {self.pin_dir}", hint=hint)
        if not generations.is_whole(folder, loader.PINS):
            generations.make_way(folder)
            self._load(folder)
        self._verified_at = self._monotonic()
        self._pins = Pins(folder, loader.PINS, links=(generations.SHAPE,))
        processors = bpf.possible_processors()
        self.maps = {
            name: PinnedMap(folder / name, *shape, processors if name in layout.PER_PROCESSOR else 1)
            for name, shape in layout.SHAPES.items()
        }
        standing = plan.adopted({name: dict(self.maps[name].items()) for name in plan.ADOPTED})
        standing.epoch = max(standing.epoch, generations.highest_epoch(self.pin_dir))
        self.planner = Planner(standing)

    def _load(self, folder: Path) -> None:
        former = generations.donor(self.pin_dir, generations.shape(loader.source()))
        if former is None and any(generations.folders(self.pin_dir)):
            LOG.warning(
                "connections begin anew", detail="their layout is another one than the older programs'"
            )
        command = [sys.executable, "-m", "nodeagent.dataplane.ebpf.loader", str(folder), str(self.work_dir)]
        command += [str(former)] if former else []
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.compile_seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            generations.make_way(folder)
            message = f"the programs were not compiled within {self.compile_seconds:g} s"
            raise DriverError(
                message, hint="the machine is busy, or bcc hangs: run causeway doctor"
            ) from error
        if done.returncode == 0:
            return
        generations.make_way(folder)
        if done.returncode == loader.EXIT_LACK:
            raise PlatformLack(**json.loads(done.stdout))
        said = _end_of(done.stderr) or f"exit code {done.returncode}"
        raise PlatformLack(f"the programs do not load: {said}", hint="run: causeway doctor")

    def _is_due(self, at: float, seconds: float) -> bool:
        return self._monotonic() - at >= seconds

    def _verify(self) -> None:
        """Put right what was altered by hand in pins and maps."""
        self._verified_at = self._monotonic()
        if self._pins is not None:
            for name in self._pins.repair():
                self._drifted(f"pin {name}", "removed, or replaced by another object")
            for table, programs in (("steps", loader.STEPS), ("early_steps", loader.EARLY_STEPS)):
                for name in self._pins.repair_calls(table, programs):
                    self._drifted(f"map {table}", f"the program {name} was removed")
        drifts = self._comparison.drifts(self.maps, self.planner.standing)
        for drift in drifts:
            for write in drift.writes:
                self._do(write)
            self._drifted(f"map {drift.map}", f"entries: {drift}")
        if drifts:
            self.planner.distrust()

    def _drifted(self, key: str, found: str) -> None:
        LOG.warning("drift was repaired", key=key, found=found)
        self.drifts[key.split()[0]] += 1
        self._found.append(ObjectReport(key=key, is_ok=True, reason=DRIFT, message=found))

    def _attach(
        self, names: Mapping[int, str], own: Collection[int], *, must_look: bool
    ) -> dict[int, CausewayError]:
        """Hang the programs where they are not, on interfaces by index, of which `own` are the node's; those that it failed for. To look at
        every interface costs a hundred times what a change of policy does, so without `must_look` what was hung is taken to hang still."""
        faults: dict[int, CausewayError] = {}
        wanted = {i: loader.HOST_PROGRAMS if i in own else loader.PROGRAMS for i in names}
        standing = self._hung.ours if must_look else {i: set(hung) for i, hung in self.attached.items()}
        for index in standing.keys() - wanted.keys():
            self._hooks.detach(index)
        self.attached = {i: hung for i, hung in self.attached.items() if wanted.get(i) == hung}
        for index, programs in wanted.items():
            if index in self.attached and standing.get(index) == set(programs):
                continue
            try:
                self._hooks.attach(index, {name: self.generation / name for name in programs})
                self._hooks.release(index, standing.get(index, set()) - set(programs))
                if index in self.attached:
                    self._drifted(f"filter {names[index]}", "removed")
                self.attached[index] = programs
            except (DriverError, PlatformLack) as error:
                faults[index] = error
        return faults

    def _close_new_ones_off(self, desired: DesiredPolicy, error: CausewayError) -> None:
        guarded = {index for index, names in self._hooks.look().ours.items() if names == set(loader.PROGRAMS)}
        new = [a for a in desired.attachments if links.index_of(a.interface) not in guarded]
        try:
            barriers.close_off(_by_interface(new))
        except (DriverError, PlatformLack) as other:
            why = error.message if error.message == other.message else f"{error.message}; {other.message}"
            text = f"{why}: {len(new)} endpoints without programs stay open"
            raise type(error)(text, hint=error.hint or other.hint) from error


def _end_of(said: str) -> str:
    """Why a load failed: its error, and the last lines of the verifier's log, if that was what refused it."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    log = list(takewhile(lambda line: not line.startswith("Traceback"), lines))
    return "\n".join([*lines[-1:], *(log[-LOG_LINES:] if len(log) < len(lines) else [])])


def _by_interface(attachments: Iterable[Attachment]) -> dict[str, tuple[Address, ...]]:
    return {a.interface: a.addresses for a in attachments}


def _is_walkable(desired: DesiredPolicy, attachment: Attachment) -> bool:
    both = desired.tables.classes[attachment.class_number]
    return all(plan.is_walkable(desired.tables, lines) for lines in both)


def _fault(attachment: Attachment, message: str, error: CausewayError | None = None) -> ObjectReport:
    reason = error.code if error else "not-enforced"
    return ObjectReport(key=f"endpoint {attachment.endpoint}", is_ok=False, reason=reason, message=message)
