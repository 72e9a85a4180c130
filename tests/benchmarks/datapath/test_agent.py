"""How an agent's figures are read, and that the world that it is told is the one that is named."""

import os
from collections import Counter

from benchmarks.datapath.agent import memory, spent, status
from benchmarks.datapath.told import ENDPOINTS, IDENTITIES, POLICIES, world
from federation.resources.codec import decode


def test_the_world_is_of_that_size_and_every_document_is_valid() -> None:
    kinds = Counter(decode(document).kind for document in world())
    assert kinds == {"Cluster": 1, "Node": 1, "Identity": IDENTITIES, "Endpoint": ENDPOINTS, "GlobalNetworkPolicy": POLICIES}  # fmt: skip


def test_figures_of_a_process_are_its_own() -> None:
    pid = os.getpid()
    assert 5 < status(pid, "VmRSS") <= status(pid, "VmHWM")
    before = spent(pid)
    sum(n * n for n in range(2_000_000))
    assert spent(pid) > before
    row = memory(pid)
    assert row.met is (row.ours <= 60)
