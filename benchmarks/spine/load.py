"""What runs inside pods: a server of many ports, a client that opens connections, a sender and a receiver of stamped datagrams.
Only the standard library, so that it starts at once: `python -m benchmarks.spine.load serve|connect|send|receive …`."""

import json
import select
import socket
import struct
import sys
import time
from itertools import count

NO_LINGER = struct.pack("ii", 1, 0)
"""Close with a reset: no port waits for two minutes."""
STAMP = struct.Struct("=d")


def serve(address: str, first: int, ports: int) -> None:
    """Accept and close, for ever."""
    poll = select.epoll()
    listeners = {}
    for port in range(first, first + ports):
        listener = socket.create_server((address, port), backlog=1024)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener
        poll.register(listener, select.EPOLLIN)
    _say("ready")
    while True:
        for descriptor, _ in poll.poll():
            try:
                while True:
                    listeners[descriptor].accept()[0].close()
            except (BlockingIOError, ConnectionError):
                continue


def connect(address: str, first: int, ports: int, seconds: float) -> None:
    """Open connections, one after the other, for that time; print how many a second."""
    targets = [(address, port) for port in range(first, first + ports)]
    made = 0
    began = time.perf_counter()
    end = began + seconds
    while time.perf_counter() < end:
        for target in targets:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.settimeout(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                client.connect(target)
        made += ports
    _say(str(made / (time.perf_counter() - began)))


def send(address: str, port: int, pause: float) -> None:
    """One datagram every `pause` seconds with its time of sending, until the input ends; then print all those times."""
    sent = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, port))
        _say("ready")
        for _ in count():
            if select.select([sys.stdin], [], [], pause)[0]:
                break
            now = time.monotonic()
            try:
                sender.send(STAMP.pack(now))
            except ConnectionRefusedError:
                continue
            sent.append(now)
    _say(json.dumps(sent))


def receive(address: str, port: int) -> None:
    """Take datagrams until the input ends; print the times of sending that came."""
    came = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, port))
        _say("ready")
        while True:
            ready, _, _ = select.select([sys.stdin, receiver], [], [])
            if receiver in ready:
                came.append(STAMP.unpack(receiver.recv(64))[0])
            elif sys.stdin in ready:
                break
    _say(json.dumps(came))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", address, first, ports]:
            serve(address, int(first), int(ports))
        case ["connect", address, first, ports, seconds]:
            connect(address, int(first), int(ports), float(seconds))
        case ["send", address, port, pause]:
            send(address, int(port), float(pause))
        case ["receive", address, port]:
            receive(address, int(port))
