"""Real PostgreSQL servers of a test's own."""

from tests.controlplane.conftest import make_server

__all__ = ["make_server"]
