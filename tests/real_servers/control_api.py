"""The control API as a process of its own, over a SQLite file or over memory."""

import re
import sys
import urllib.request
from pathlib import Path

from . import ServerProcess, free_port

TOKEN = "letmein-7f3a9c51d2e8"
_WITH_GRACE = """
import sys
from conductor_jobs import cli
from conductor_jobs.control_api import serving
serving.GRACE = {}
sys.exit(cli.main())
"""


class ControlAPIProcess:
    """`conductor-jobs control-api` on one port, again and again."""

    def __init__(
        self, folder: Path, store: str | None = None, token: str | None = TOKEN, *, grace: float | None = None
    ) -> None:
        """Nothing is started yet. `store`: by default a SQLite file in the folder. `grace`: in place of its own."""
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.token = token
        self._store = store or f"sqlite:///{folder / 'conductor.db'}"
        self._program = ["-m", "conductor_jobs"] if grace is None else ["-c", _WITH_GRACE.format(grace)]
        self._process = ServerProcess(folder)
        self.output = self._process.output

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--listen", f"127.0.0.1:{self.port}", "--store", self._store]
        command = [sys.executable, *self._program, "control-api", *options]
        self._process.start(command, self._answers, {"BAA_SHARED_TOKEN": self.token or ""})

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def stop(self) -> None:
        self._process.stop()

    def printed(self) -> list[str]:
        """Return what it has printed, but for where it listens."""
        lines = self.output.read_text().splitlines()
        return [line for line in lines if not re.match("conductor-jobs: control API at http", line)]

    def _answers(self) -> bool:
        request = urllib.request.Request(f"{self.url}/v1/leader?leaseName=conductor")
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=2) as response:
            return bool(response.status == 200)
