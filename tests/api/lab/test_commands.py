"""How a lab's commands read what a user types."""

import pytest

from api.lab.commands import must_be_output, netns_of
from api.lab.topology import topology
from federation.errors import InvalidInput, NotFound

LAB = topology("lab", 2, 2, 4)


@pytest.mark.parametrize(
    ("where", "netns"),
    [
        ("dc1/shop/web", "cw-lab-dc1-web"), ("dc1/web", "cw-lab-dc1-web"), ("aws1/n2", "cw-lab-aws1-n2"), ("aws1/pay/db", "cw-lab-aws1-db"),
    ],
)  # fmt: skip
def test_a_workload_or_node_is_found_by_its_path_with_or_without_namespace(where: str, netns: str) -> None:
    assert netns_of(LAB, where) == netns


def test_a_bare_name_is_enough_when_only_one_has_it() -> None:
    assert netns_of(topology("lab", 1, 1, 4), "db") == "cw-lab-dc1-db"


def test_a_name_that_several_have_is_refused_and_they_are_named() -> None:
    with pytest.raises(InvalidInput, match="more than one") as refused:
        netns_of(LAB, "web")
    assert refused.value.hint == "one of: aws1/shop/web, dc1/shop/web"


@pytest.mark.parametrize("where", ["nobody", "dc1/pay/web", "dc2/web", "dc1/", "", "/"])
def test_a_name_that_nobody_has_is_refused_and_the_names_are_told(where: str) -> None:
    with pytest.raises(NotFound) as refused:
        netns_of(LAB, where)
    assert "dc1/shop/web" in refused.value.hint


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(InvalidInput, match="yaml"):
        must_be_output("yaml")
