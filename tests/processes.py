"""Real processes of the command, watched through the journal lines that they print."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

PATIENCE = 30.0


class Started:
    """A running `conductor-jobs start APP`."""

    def __init__(self, folder: Path, app: str, *options: str, **variables: str) -> None:
        command = [sys.executable, "-m", "conductor_jobs", "start", app, *options]
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.popen.pid
        self.entries: list[dict[str, Any]] = []
        self.stderr: list[str] = []
        self._fresh: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._readers = [threading.Thread(target=self._read_stdout), threading.Thread(target=self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, stage: str, **details: object) -> dict[str, Any]:
        """Return the next printed entry of that stage with those values."""
        deadline = time.monotonic() + PATIENCE
        while True:
            entry = self._fresh.get(timeout=max(0.0, deadline - time.monotonic()))
            assert entry is not None, f"ended without {stage}: {self.stderr}"
            if entry["stage"] == stage and details.items() <= entry.items():
                return entry

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, once everything that was printed has been read."""
        code = self.popen.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def _read_stdout(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as lines:
            for line in lines:
                entry = json.loads(line)
                self.entries.append(entry)
                self._fresh.put(entry)
        self._fresh.put(None)

    def _read_stderr(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as lines:
            self.stderr.extend(lines)


@contextmanager
def started(folder: Path, app: str, *options: str, **variables: str) -> Generator[Started, None, None]:
    """Start the command, and leave nothing of it behind."""
    process = Started(folder, app, *options, **variables)
    try:
        yield process
    finally:
        process.popen.kill()
        process.wait()


def elapsed_ms(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Return the milliseconds between two entries by their `ts`; their writers share the machine's clock."""
    moments = [datetime.fromisoformat(entry["ts"]) for entry in (before, after)]
    return (moments[1] - moments[0]).total_seconds() * 1000


def run_without_a_reader(*arguments: str) -> tuple[int, bytes]:
    """Run the command with a standard output that nobody reads; return its exit code and what it says on stderr."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "conductor_jobs", *arguments]
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate()
    return process.returncode, err
