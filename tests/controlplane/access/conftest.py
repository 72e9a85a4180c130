"""An identity provider."""

from collections.abc import Iterator

import pytest

from tests.controlplane.access.issuer import Issuer, running


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running() as started:
        yield started
