"""The public rules of a lease store, over HTTP: a real server, over SQLite and over memory."""

from collections.abc import Generator
from pathlib import Path

import pytest

from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.testing import exercise_lease_store

from .real_servers.control_api import TOKEN, ControlAPIProcess


@pytest.fixture(params=["sqlite", "memory"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[ControlAPIProcess]:
    server = ControlAPIProcess(tmp_path / "server", store="memory:" if request.param == "memory" else None)
    server.start()
    yield server
    server.kill()


@pytest.mark.timeout(600)
async def test_the_control_api_keeps_every_rule_of_a_lease_store(server: ControlAPIProcess) -> None:
    await exercise_lease_store(lambda: HTTPLeaseStore(server.url, TOKEN), ttl=0.5, prompt=20.0)
    assert server.printed() == []
