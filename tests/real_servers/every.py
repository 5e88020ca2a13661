"""A store of every kind, each with a server of its own where it needs one: for what is shown on all of them alike."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from . import control_api, etcd, postgres, redis


@contextmanager
def _sqlite(folder: Path) -> Generator[str, None, None]:
    yield f"sqlite:///{folder / 'conductor.db'}"


@contextmanager
def _postgres(_folder: Path) -> Generator[str, None, None]:
    with postgres.running() as server, postgres.database_of(server.url) as url:
        yield url


@contextmanager
def _redis(folder: Path) -> Generator[str, None, None]:
    with redis.running(folder) as server:
        yield server.url


@contextmanager
def _etcd(_folder: Path) -> Generator[str, None, None]:
    with etcd.running() as server:
        yield server.url


@contextmanager
def _http(folder: Path) -> Generator[str, None, None]:
    server = control_api.ControlAPIProcess(folder)
    server.start()
    try:
        yield server.url.replace("://", f"://:{control_api.TOKEN}@")
    finally:
        server.stop()


STORES: Final[dict[str, Callable[[Path], AbstractContextManager[str]]]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    "redis": _redis,
    "etcd": _etcd,
    "http": _http,
}


@contextmanager
def started(name: str, folder: Path) -> Generator[str, None, None]:
    """Start what a store of that kind needs, in a folder that is there, and yield the URL of the store.

    `http` is a control API over SQLite. Skips the test, or fails it in CI, where there is no such server.
    """
    with STORES[name](folder) as url:
        yield url
