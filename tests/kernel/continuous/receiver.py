"""Runs in the receiving pod: answers what is always allowed, counts what must not come, until its input ends. Prints what it saw."""

import json
import selectors
import socket
import sys

from tests.kernel.continuous.turns import (
    ALWAYS_TCP,
    ALWAYS_UDP,
    FLIP_UDP,
    NEVER_TCP,
    NEVER_UDP,
)

BUFFER = 32 << 20
OUT_OF_ORDER = 224
"""Offset of tcpi_rcv_ooopack in struct tcp_info (linux/tcp.h, since Linux 5.4): segments that came after a gap."""


def out_of_order(stream: socket.socket) -> int:
    told = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(told[OUT_OF_ORDER : OUT_OF_ORDER + 4], sys.byteorder)


def udp(own: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
    made.bind((own, port))
    made.setblocking(False)
    return made


def listening(own: str, port: int) -> socket.socket:
    made = socket.create_server((own, port), backlog=512)
    made.setblocking(False)
    return made


class Receiver:
    def __init__(self, own: str) -> None:
        self.seen: dict[str, list[int]] = {"never": [], "flip": []}
        self.accepted = self.gaps = 0
        self.watch = selectors.DefaultSelector()
        self.is_over = False
        for made, react in (
            (udp(own, ALWAYS_UDP), self.answer),
            (udp(own, NEVER_UDP), lambda s: self.note(s, "never")),
            (udp(own, FLIP_UDP), lambda s: self.note(s, "flip")),
            (listening(own, ALWAYS_TCP), self.accept),
            (listening(own, NEVER_TCP), self.count),
        ):
            self.watch.register(made, selectors.EVENT_READ, react)
        self.watch.register(sys.stdin, selectors.EVENT_READ, self.end)

    def run(self) -> None:
        while not self.is_over:
            for key, _ in self.watch.select():
                key.data(key.fileobj)

    def answer(self, made: socket.socket) -> None:
        for data, peer in self.all_of(made):
            made.sendto(data, peer)

    def note(self, made: socket.socket, name: str) -> None:
        self.seen[name] += [int(data) for data, _ in self.all_of(made)]

    def all_of(self, made: socket.socket) -> list[tuple[bytes, object]]:
        found = []
        try:
            while True:
                found.append(made.recvfrom(256))
        except BlockingIOError:
            return found

    def accept(self, made: socket.socket) -> None:
        stream, _ = made.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watch.register(stream, selectors.EVENT_READ, self.echo)

    def count(self, made: socket.socket) -> None:
        made.accept()[0].close()
        self.accepted += 1

    def echo(self, stream: socket.socket) -> None:
        data = stream.recv(65536)
        if data:
            stream.sendall(data)
            return
        self.gaps += out_of_order(stream)
        self.watch.unregister(stream)
        stream.close()

    def end(self, _: object) -> None:
        self.is_over = True


if __name__ == "__main__":
    receiver = Receiver(sys.argv[1])
    print("ready", flush=True)
    receiver.run()
    print(json.dumps({**receiver.seen, "accepted": receiver.accepted, "gaps": receiver.gaps}), flush=True)
