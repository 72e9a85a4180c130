"""For every test: the processes that tests start hear Ctrl-C, also where the tests run in the background of a script; programs are compiled once
for all of them; and a network namespace for those that ask."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from nodeagent.dataplane.ebpf.build.objects import FOLDER_VARIABLE

CLONE_NEWNET = 0x40000000


def pytest_configure() -> None:
    """A shell lets background commands ignore SIGINT; what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="causeway-objects-")


def pytest_unconfigure() -> None:
    """Nothing is left."""
    shutil.rmtree(os.environ.pop(FOLDER_VARIABLE, ""), ignore_errors=True)


Within = Callable[[Callable[[], object]], object]
"""Makes a call in a namespace: sockets that it opens and processes that it starts are there."""


@pytest.fixture
def in_netns() -> Iterator[Within]:
    """A fresh namespace."""
    with _namespace() as (_, within):
        yield within


@pytest.fixture
def in_two_netns() -> Iterator[tuple[Within, Within]]:
    """Two fresh namespaces on one wire: 192.0.2.1 and 192.0.2.2."""
    with _namespace() as (one, within_one), _namespace() as (other, within_other):
        words = ["link", "add", "wire", "netns", one, "type", "veth", "peer", "name", "wire", "netns", other]
        subprocess.run(["ip", *words], check=True)
        for name, address in ((one, "192.0.2.1/24"), (other, "192.0.2.2/24")):
            subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", "wire"], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "wire", "up"], check=True)
        yield within_one, within_other


@contextmanager
def _namespace() -> Iterator[tuple[str, Within]]:
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
            yield name, lambda call: thread.submit(call).result(30)
    finally:
        pids = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
        ).stdout
        for pid in pids.split():
            os.kill(int(pid), 9)
        subprocess.run(["ip", "netns", "del", name], check=True)
