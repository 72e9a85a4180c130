"""The programs' own counts: verdicts by reason, packets and bytes by rule; summed over processors."""

import struct

from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.pins import Pins


def reasons(pins: Pins) -> dict[str, int]:
    """Packets by reason (layout.COUNTERS). Raises DriverError."""
    held = {decode.number(key): value for key, value in pins.map("counters").items()}
    return {
        name: sum(struct.unpack(f"={len(held[number]) // 8}Q", held[number]))
        for number, name in enumerate(layout.COUNTERS)
    }


def rule_totals(pins: Pins) -> dict[int, tuple[int, int]]:
    """(packets, bytes) by key of `Tables.references`, of rules that have any. Raises DriverError."""
    found = {}
    for key, value in pins.entries("rule_counts", is_sparse=True):
        number = decode.reference_of(decode.number(key))
        if number is not None and any(value):
            fields = struct.unpack(f"={len(value) // 8}Q", value)
            found[number] = (sum(fields[0::2]), sum(fields[1::2]))
    return found
