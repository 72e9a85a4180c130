"""What a person reads of a matrix."""

import io

from rich.console import Console

from api.lab.federation import Lab
from api.lab.reach import PROTOCOLS
from api.lab.show import matrix_table
from api.lab.topology import topology


def shown(workloads: int, reached: str) -> list[list[str]]:
    lab = Lab(topology("lab", 2, 1, workloads), port=1)
    paths = [w.path for w in lab.topology.workloads]
    cells = {(a, b, p): p == reached for a in paths for b in paths if a != b for p in PROTOCOLS}
    console = Console(file=io.StringIO(), width=300)
    console.print(matrix_table(lab, cells))
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_small_matrix_shows_each_pair_tcp_then_udp() -> None:
    assert shown(1, "TCP")[-2:] == [["dc1/shop/web", ".", "+-"], ["aws1/shop/web", "+-", "."]]


def test_a_big_matrix_counts_by_cluster() -> None:
    assert ["dc1/shop/web", "0/7", "of", "7", "0/8", "of", "8"] in shown(8, "UDP")
