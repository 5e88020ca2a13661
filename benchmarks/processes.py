"""Real processes of the command, followed through the journal lines that they print."""

import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

PATIENCE = 30.0


@final
class StartedCommand:
    """A running `conductor-jobs …`, in a folder of its own or of several."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "conductor_jobs", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def wait_for(self, stage: str) -> dict[str, Any]:
        """Return the next entry of that stage. Raises RuntimeError when there is none within half a minute."""
        assert self.popen.stdout is not None
        patience = threading.Timer(PATIENCE, self.popen.kill)
        patience.start()
        try:
            for line in self.popen.stdout:
                entry: dict[str, Any] = json.loads(line)
                if entry["stage"] == stage:
                    return entry
        finally:
            patience.cancel()
        raise RuntimeError(f"{self.popen.args!r} ended without {stage}")

    def end(self) -> None:
        """Kill it if it still runs, and wait for its end."""
        assert self.popen.stdout is not None
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()


@contextmanager
def started_command(folder: Path, *arguments: str) -> Generator[StartedCommand, None, None]:
    """Start the command, and leave nothing of it behind."""
    started = StartedCommand(folder, *arguments)
    try:
        yield started
    finally:
        started.end()
