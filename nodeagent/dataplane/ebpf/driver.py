"""The verdict driver: desired policy into pinned maps, and the programs onto endpoints' interfaces.

Order of writes, so that no packet sees half a policy: rows and addresses of a new bank, rules into free places of the arena,
then each endpoint's entry in one atomic write (bank, lists, epoch), and only then is the old bank removed. See
docs/design/datapath.md.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from federation.errors import CausewayError, DriverError, PlatformLack
from federation.identities import WORLD
from nodeagent.dataplane.ebpf import layout, loader, plan
from nodeagent.dataplane.ebpf.bpf import PinnedMap
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.plan import Bank, Lines
from nodeagent.dataplane.linux import filters
from nodeagent.drivers import Attachment, DesiredPolicy, ObjectReport

SHAPES = {
    "endpoints": (4, layout.ENDPOINT.size),
    "addresses": (layout.ADDRESS_KEY.size, layout.ADDRESS_VALUE.size),
    "prefixes": (layout.PREFIX_KEY.size, 4),
    "identity_rows": (layout.ROW_KEY.size, layout.ROW.size),
    "prefix_rows": (layout.ROW_KEY.size, layout.ROW.size),
    "rules": (4, layout.RULE.size),
}
BANKED = {"addresses": 0, "prefixes": 4, "identity_rows": 0, "prefix_rows": 0}
"""Maps whose keys hold a bank's number, and where."""


class EbpfDriver:
    """Driver[DesiredPolicy] of the Linux kernel. `pin_dir` is this node's own folder of a bpffs."""

    def __init__(self, pin_dir: Path, state_dir: Path) -> None:
        self.pin_dir = pin_dir
        self.work_dir = state_dir
        self.maps: dict[str, PinnedMap] = {}
        self.bank_number = 0
        self.epoch = 0
        self.bank = Bank()
        self.extents: dict[Lines, Extent] = {}
        self.entries: dict[int, tuple[Attachment, tuple[Extent, Extent], int]] = {}
        self.is_known = False

    @property
    def generation(self) -> Path:
        """The folder of pins of exactly these programs and layouts."""
        content = loader.SOURCE.read_bytes() + repr(layout.SIZES).encode()
        return self.pin_dir / hashlib.sha256(content).hexdigest()[:12]

    def converge(self, desired: DesiredPolicy) -> tuple[ObjectReport, ...]:
        """Make the kernel judge as desired. Raises PlatformLack or DriverError when nothing can be done."""
        self._open()
        reports = [self._unwalkable(desired, a) for a in desired.attachments]
        self._write_bank(plan.bank_of(desired))
        lists = {a: plan.lists_of(desired.tables, a.class_number) for a in desired.attachments}
        extents = self._write_rules({lines for pair in lists.values() for lines in pair})
        entries: dict[int, tuple[Attachment, tuple[Extent, Extent], int]] = {}
        for attachment, (ingress, egress) in lists.items():
            index = filters.index_of(attachment.interface)
            if index is None:
                reports.append(_fault(attachment, f"interface {attachment.interface} does not exist"))
                continue
            pair = (extents[ingress], extents[egress])
            before = self.entries.get(index)
            is_same = before is not None and before[:2] == (attachment, pair)
            entries[index] = (
                attachment,
                pair,
                before[2] if before and is_same and self.is_known else self.epoch + 1,
            )
        self._write_entries(entries)
        self._drop_old_banks()
        self.extents = extents
        reports += self._attach(entries)
        self.is_known = True
        return tuple(report for report in reports if report is not None)

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Take filters and pins of ours away, and nothing else."""
        for index in filters.attached():
            filters.detach(index)
        self.close()
        shutil.rmtree(self.pin_dir, ignore_errors=True)
        return ()

    def close(self) -> None:
        """Give descriptors back; what is pinned goes on."""
        for pinned in self.maps.values():
            pinned.close()
        self.maps = {}
        self.is_known = False

    def _open(self) -> None:
        if self.maps:
            return
        folder = self.generation
        if not (folder / loader.PROGRAMS[-1]).exists():
            self._load(folder)
        self.maps = {name: PinnedMap(folder / name, *shape) for name, shape in SHAPES.items()}
        self._adopt()

    def _load(self, folder: Path) -> None:
        if not Path("/sys/fs/bpf").is_mount():
            hint = "mount -t bpf bpf /sys/fs/bpf; routes and tunnels still work"
            raise PlatformLack("no bpffs is mounted at /sys/fs/bpf", hint=hint)
        command = [sys.executable, "-m", "nodeagent.dataplane.ebpf.loader", str(folder), str(self.work_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PlatformLack(f"the programs do not load: {last}", hint="run: causeway doctor")

    def _adopt(self) -> None:
        """Learn from the kernel what stands: whose places in the arena are taken, and which bank and epoch were the last."""
        for key, value in self.maps["endpoints"].items():
            _, _, bank, epoch, *lists = layout.ENDPOINT.unpack(value)
            self.bank_number, self.epoch = max(self.bank_number, bank), max(self.epoch, epoch)
            pair = tuple(Extent(s, c & 0xFFFF) for s, c in zip(lists[:2], lists[2:], strict=True))
            unknown = Attachment(endpoint="", interface="", class_number=0, identity=WORLD, addresses=())
            self.entries[layout.NUMBER.unpack(key)[0]] = (unknown, (pair[0], pair[1]), epoch)

    def _write_bank(self, bank: Bank) -> None:
        if self.is_known and bank == self.bank:
            return
        if not self.is_known or not plan.is_extension(self.bank, bank):
            self.bank_number += 1
        number = self.bank_number
        key = layout.ROW_KEY.pack
        self.maps["identity_rows"].update(
            {key(number, n): layout.row(r) for n, r in bank.identity_rows.items()}
        )
        self.maps["prefix_rows"].update({key(number, n): layout.row(r) for n, r in bank.prefix_rows.items()})
        self.maps["prefixes"].update(
            {layout.prefix_key(number, net): layout.NUMBER.pack(n) for net, n in bank.prefixes.items()}
        )
        self.maps["addresses"].update(
            {
                layout.ADDRESS_KEY.pack(number, a.packed): layout.ADDRESS_VALUE.pack(*v)
                for a, v in bank.addresses.items()
            }
        )
        self.bank = bank
        self.entries = {
            i: (a, pair, -1) for i, (a, pair, _) in self.entries.items()
        }  # every live connection is judged again
        self.is_known = False

    def _write_rules(self, wanted: set[Lines]) -> dict[Lines, Extent]:
        extents = {lines: self.extents[lines] for lines in wanted if lines in self.extents}
        occupied = [e for _, pair, _ in self.entries.values() for e in pair] + list(self.extents.values())
        for lines in sorted(wanted - extents.keys(), key=repr):
            if not lines:
                extents[lines] = Extent(0, 0)
                continue
            start = plan.allocate([e for e in occupied if e.size], len(lines))
            extents[lines] = Extent(start, len(lines), layout.list_flags(lines))
            occupied.append(extents[lines])
            pack = layout.NUMBER.pack
            self.maps["rules"].update({pack(start + n): layout.rule(line) for n, line in enumerate(lines)})
        return extents

    def _write_entries(self, entries: dict[int, tuple[Attachment, tuple[Extent, Extent], int]]) -> None:
        gone = self.entries.keys() - entries.keys()
        fresh = {i: entry for i, entry in entries.items() if self.entries.get(i) != entry}
        if fresh:
            self.epoch += 1
        self.maps["endpoints"].update(
            {
                layout.NUMBER.pack(index): layout.endpoint(
                    a.addresses[0], a.identity, (self.bank_number, epoch), pair
                )
                for index, (a, pair, epoch) in fresh.items()
            }
        )
        self.maps["endpoints"].delete([layout.NUMBER.pack(index) for index in gone])
        self.entries = entries

    def _drop_old_banks(self) -> None:
        if self.is_known:
            return
        current = layout.NUMBER.pack(self.bank_number)
        for name, offset in BANKED.items():
            stale = [key for key, _ in self.maps[name].items() if key[offset : offset + 4] != current]
            self.maps[name].delete(stale)

    def _attach(
        self, entries: dict[int, tuple[Attachment, tuple[Extent, Extent], int]]
    ) -> list[ObjectReport | None]:
        reports: list[ObjectReport | None] = []
        standing = filters.attached()
        for index in standing.keys() - entries.keys():
            filters.detach(index)
        for index, (attachment, _, _) in entries.items():
            if self.is_known and standing.get(index) == set(loader.PROGRAMS):
                continue
            try:
                filters.attach(index, *(self.generation / name for name in loader.PROGRAMS))
            except (DriverError, PlatformLack) as error:
                reports.append(_fault(attachment, str(error), error))
        for old in self.pin_dir.iterdir():
            if old != self.generation:
                shutil.rmtree(old, ignore_errors=True)
        return reports

    def _unwalkable(self, desired: DesiredPolicy, attachment: Attachment) -> ObjectReport | None:
        if all(
            plan.is_walkable(desired.tables, lines)
            for lines in desired.tables.classes[attachment.class_number]
        ):
            return None
        return _fault(
            attachment, f"more than {layout.MAX_RULES} rules or {layout.ROW_BITS} selectors: denied"
        )


def _fault(attachment: Attachment, message: str, error: CausewayError | None = None) -> ObjectReport:
    reason = error.code if error else "not-enforced"
    return ObjectReport(key=f"endpoint {attachment.endpoint}", is_ok=False, reason=reason, message=message)
