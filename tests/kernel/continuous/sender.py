"""Runs in a sending pod: every two milliseconds a few packets of every flow, until its input ends. Prints what came of them."""

import json
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from tests.kernel.continuous.receiver import BUFFER, out_of_order
from tests.kernel.continuous.turns import (
    ALWAYS_TCP,
    ALWAYS_UDP,
    FLIP_UDP,
    NEVER_TCP,
    NEVER_UDP,
)

TICK = 0.002
PATIENCE = 1.5
"""Seconds after which an answer is not waited for any more."""
RECORD = 16
TOTAL_RETRANS = 100
"""Offset of tcpi_total_retrans in struct tcp_info."""


@dataclass
class Sender:
    peer: str
    is_flipping: bool
    answers: int = 0
    """Of the lasting UDP flow."""
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("lasting", "fresh", "never", "stream", "short", "knocks"), 0))  # fmt: skip
    lost: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("fresh", "short", "retried", "stream"), 0)
    )
    let_in: int = 0
    """Connections that must not be, and are."""
    flips: list[tuple[int, int]] = field(default_factory=list)
    """When each was sent: before and after, on the monotonic clock."""
    fresh: deque[tuple[float, socket.socket]] = field(default_factory=deque)
    short: deque[tuple[float, socket.socket]] = field(default_factory=deque)
    knocks: deque[tuple[float, socket.socket]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.lasting, self.never, self.flip = (self.udp(port) for port in (ALWAYS_UDP, NEVER_UDP, FLIP_UDP))
        self.stream = socket.create_connection((self.peer, ALWAYS_TCP), timeout=5)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream.setblocking(False)
        self.echoed = bytearray()

    def udp(self, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        made.connect((self.peer, port))
        made.setblocking(False)
        return made

    def tick(self, number: int, now: float) -> None:
        for _ in range(2):
            self.sent["lasting"] += 1
            self.lasting.send(b"%d" % self.sent["lasting"])
        self.sent["never"] += 1
        self.never.send(b"%d" % self.sent["never"])
        if self.is_flipping:
            before = time.monotonic_ns()
            self.flip.send(b"%d" % len(self.flips))
            self.flips.append((before, time.monotonic_ns()))
        self.speak()
        if number % 3 == 0:
            self.open_fresh(now)
        if number % 20 == 0:
            self.short.append((now, self.knock(ALWAYS_TCP)))
        if number % 25 == 0:
            self.knocks.append((now, self.knock(NEVER_TCP)))
        self.hear()
        self.judge(now - PATIENCE)

    def speak(self) -> None:
        """One more record of the lasting connection; one that is stuck is not written to any more."""
        self.sent["stream"] += 1
        try:
            written = self.stream.send(b"%*d" % (RECORD, self.sent["stream"]))
        except BlockingIOError:
            written = 0
        self.lost["stream"] += written != RECORD

    def open_fresh(self, now: float) -> None:
        """From a port that nobody remembers; now and then to where nothing may go."""
        for port, name in ((ALWAYS_UDP, "fresh"), (NEVER_UDP, "never"))[: 2 if self.sent["fresh"] % 8 == 0 else 1]:  # fmt: skip
            made = self.udp(port)
            self.sent[name] += 1
            made.send(b"%d" % self.sent[name])
            if name == "fresh":
                self.fresh.append((now, made))
            else:
                made.close()

    def knock(self, port: int) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex((self.peer, port))
        return made

    def hear(self) -> None:
        with suppress(BlockingIOError):
            while self.lasting.recv(64):
                self.answers += 1
        with suppress(BlockingIOError):
            self.echoed += self.stream.recv(65536)

    def judge(self, until: float) -> None:
        """What was begun before a moment is over."""
        while self.fresh and self.fresh[0][0] <= until:
            self.lost["fresh"] += not has_answer(self.fresh.popleft()[1])
        while self.short and self.short[0][0] <= until:
            made = self.short.popleft()[1]
            self.sent["short"] += 1
            told = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            self.lost["short"] += not is_connected(made)
            self.lost["retried"] += int.from_bytes(told[TOTAL_RETRANS : TOTAL_RETRANS + 4], sys.byteorder) > 0
            made.close()
        while self.knocks and self.knocks[0][0] <= until:
            made = self.knocks.popleft()[1]
            self.sent["knocks"] += 1
            self.let_in += is_connected(made)
            made.close()

    def end(self) -> dict[str, object]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            select.select([self.lasting, self.stream], [], [], 0.05)
            self.hear()
        self.judge(time.monotonic())
        wanted = b"".join(b"%*d" % (RECORD, n) for n in range(1, self.sent["stream"] + 1))
        gaps = out_of_order(self.stream)
        self.stream.close()
        return {
            "sent": self.sent,
            "lost": {**self.lost, "lasting": self.sent["lasting"] - self.answers},
            "let_in": self.let_in,
            "flips": self.flips,
            "stream": bytes(self.echoed) == wanted,
            "gaps": gaps,
        }


def has_answer(made: socket.socket) -> bool:
    try:
        return bool(made.recv(64))
    except OSError:
        return False
    finally:
        made.close()


def is_connected(made: socket.socket) -> bool:
    try:
        made.getpeername()
    except OSError:
        return False
    return True


def main(peer: str, *, is_flipping: bool) -> None:
    sender, number, due = Sender(peer, is_flipping), 0, time.monotonic()
    print("ready", flush=True)
    while True:
        due += TICK
        readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))
        if readable:
            break
        sender.tick(number, time.monotonic())
        number += 1
    print(json.dumps(sender.end()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], is_flipping=sys.argv[2] == "flip")
