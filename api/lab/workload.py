"""What runs in a workload's namespace: an echo server, a prober of many targets, a live connection. Only the standard library, so that it
starts at once: `python -m api.lab.workload serve|probe|live …`."""

import json
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

DEADLINE = 1.0
"""Seconds until a target counts as not reached."""


def serve(port: int) -> None:
    """Echo TCP and UDP, for ever."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    threading.Thread(target=_echo_datagrams, args=(datagrams,), daemon=True).start()
    with socket.create_server(("", port), backlog=128) as listener:
        while True:
            threading.Thread(target=_echo, args=(listener.accept()[0],), daemon=True).start()


def probe(targets: list[tuple[str, str, int]]) -> list[bool]:
    """Which of (protocol, address, port) answer."""
    with ThreadPoolExecutor(min(len(targets), 64)) as pool:
        return list(pool.map(_reaches, targets))


def live(address: str, port: int) -> None:
    """Ping one TCP connection every 20 ms until the input ends; then say how many answers came, were lost, and the longest wait."""
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    good, lost, longest = 0, 0, 0.0
    with socket.create_connection((address, port), timeout=3) as connection:
        connection.settimeout(DEADLINE)
        _say("ready")
        while not ended.wait(0.02):
            began = time.monotonic()
            try:
                connection.sendall(b"ping")
                is_answered = bool(connection.recv(100))
            except OSError:
                is_answered = False
            longest = max(longest, time.monotonic() - began)
            good, lost = good + is_answered, lost + (not is_answered)
            if not is_answered:
                break
    _say(json.dumps({"good": good, "lost": lost, "longest_ms": round(longest * 1000, 1)}))


def _reaches(target: tuple[str, str, int]) -> bool:
    protocol, address, port = target
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.settimeout(DEADLINE)
        try:
            connection.connect((address, port))
            connection.send(b"hello")
            return connection.recv(100) == b"hello"
        except OSError:
            return False


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(4096):
                connection.sendall(data)
        except OSError:
            return


def _echo_datagrams(datagrams: socket.socket) -> None:
    while True:
        data, peer = datagrams.recvfrom(4096)
        datagrams.sendto(data, peer)


def capture(seconds: float) -> None:
    """Every kind of IPv4 packet that this namespace forwards in that time: (protocol, source, destination, port) as JSON."""
    seen: set[tuple[int, str, str, int]] = set()
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as tap:
        tap.settimeout(0.1)
        _say("ready")
        while time.monotonic() < end:
            try:
                frame = tap.recv(2048)
            except TimeoutError:
                continue
            header = 14 + (frame[14] & 15) * 4
            source, destination = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
            seen.add((frame[23], source, destination, int.from_bytes(frame[header + 2 : header + 4])))
    _say(json.dumps(sorted(seen)))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGPIPE):  # Ctrl-C, or a fault, ends the lab; its parts just end
        signal.signal(number, signal.SIG_DFL)
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["probe", "-"]:
            _say(json.dumps(probe([tuple(t) for t in json.load(sys.stdin)])))
        case ["live", address, port]:
            live(address, int(port))
        case ["capture", seconds]:
            capture(float(seconds))
