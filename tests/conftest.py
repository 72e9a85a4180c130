"""For every test: the processes that tests start hear Ctrl-C, also where the tests run in the background of a script; and a
network namespace for those that ask."""

import ctypes
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

CLONE_NEWNET = 0x40000000


def pytest_configure() -> None:
    """A shell lets background commands ignore SIGINT; what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def in_netns() -> Iterator[Callable[[Callable[[], object]], object]]:
    """in_netns(call) makes the call in a fresh namespace: sockets that it opens and processes that it starts are there."""
    if os.geteuid() != 0:
        pytest.skip("root is needed for a network namespace")
    name = f"cwt-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            assert libc.setns(descriptor, CLONE_NEWNET) == 0
        finally:
            os.close(descriptor)

    try:
        with ThreadPoolExecutor(1, initializer=enter) as thread:
            yield lambda call: thread.submit(call).result(30)
    finally:
        pids = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
        ).stdout
        for pid in pids.split():
            os.kill(int(pid), 9)
        subprocess.run(["ip", "netns", "del", name], check=True)
