"""Real PostgreSQL servers."""

from tests.controlplane.conftest import make_server

__all__ = ["make_server"]
