"""What runs inside pods: servers, a client that opens connections, a sender and a receiver of stamped datagrams, a worker that is told what
to do. Only the standard library, so that it starts at once: `python -m benchmarks.load serve|connect|echo|work|send|receive …`."""

import errno
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
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
    """Print the rate of `rate`."""
    _say(str(rate(address, first, ports, seconds)))


def rate(address: str, first: int, ports: int, seconds: float) -> float:
    """Open connections, one after the other, for that time: how many a second."""
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
    return made / (time.perf_counter() - began)


def echo(address: str, port: int) -> None:
    """Send back what comes, one TCP connection after the other, for ever."""
    listener = socket.create_server((address, port))
    _say("ready")
    while True:
        client, _ = listener.accept()
        with client, suppress(ConnectionError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while body := client.recv(64):
                client.send(body)


def trips(address: str, port: int, seconds: float) -> list[float]:
    """Seconds of each request of one byte and its answer, over one connection, for that time."""
    found = []
    with socket.create_connection((address, port), timeout=1) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            client.send(b"x")
            client.recv(64)
            before, now = now, time.perf_counter()
            found.append(now - before)
    return found


def answer(address: str, port: int) -> None:
    """Send back datagrams, for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        _say("ready")
        while True:
            server.sendto(*server.recvfrom(64))


def passed(probes: list[tuple[str, str, int]], seconds: float) -> list[bool]:
    """Whether each (`tcp` or `udp`, address, port) is answered within that time, all asked at once. Raises OSError when a port is
    closed: who refuses was reached, and is not what was to be asked."""
    waiting: dict[int, tuple[int, socket.socket]] = {}
    answers = [False] * len(probes)
    poll = select.epoll()
    with ExitStack() as stack:
        for place, (kind, address, port) in enumerate(probes):
            is_stream = kind == "tcp"
            client = stack.enter_context(
                socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
            )
            client.setblocking(False)
            code = client.connect_ex((address, port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, f"connect to {address}")
            if not is_stream:
                client.send(b"x")
            waiting[client.fileno()] = place, client
            poll.register(client, select.EPOLLOUT if is_stream else select.EPOLLIN)
        end = time.perf_counter() + seconds
        while waiting and (left := end - time.perf_counter()) > 0:
            for descriptor, _ in poll.poll(left):
                place, client = waiting.pop(descriptor)
                poll.unregister(client)
                if code := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, f"probe {probes[place]}")
                answers[place] = True
    return answers


def work() -> None:
    """Do what each line of the input asks (JSON: a name of WORK, then its parameters) and print the answer as a line of JSON."""
    _say("ready")
    for line in sys.stdin:
        name, *parameters = json.loads(line)
        _say(json.dumps(WORK[name](*parameters)))


WORK: dict[str, Callable[..., object]] = {"rate": rate, "trips": trips, "passed": passed}


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
        case ["echo", address, port]:
            echo(address, int(port))
        case ["answer", address, port]:
            answer(address, int(port))
        case ["work"]:
            work()
        case ["send", address, port, pause]:
            send(address, int(port), float(pause))
        case ["receive", address, port]:
            receive(address, int(port))
