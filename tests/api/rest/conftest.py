"""The application on a real control plane, asked in process."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.rest.app import application
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(
        Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/i.db"), SystemClock()
    ) as opened:
        yield opened


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks as a user."""
    token = (await plane.access.create_token("tester")).text
    transport = httpx.ASGITransport(application(plane), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client
