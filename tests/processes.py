"""Real processes of the command, watched through the journal lines that they print."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

PATIENCE = 60.0


class Lines:
    """What a process prints, line by line as it comes; whoever waits in vain is told all of it."""

    def __init__(self, stream: IO[str]) -> None:
        self.all: list[str] = []
        self._fresh: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def next(self, what: str = "another line") -> str:
        """Return the next line; fails when there is none for too long, or none any more."""
        try:
            line = self._fresh.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no {what} within {PATIENCE:g} s; printed: {self._latest()}") from None
        assert line is not None, f"ended without {what}; printed: {self._latest()}"
        return line

    def wait_for(self, pattern: str) -> str:
        """Return the next line with a match of the pattern, or fail as `next` does."""
        deadline = time.monotonic() + PATIENCE
        while re.search(pattern, line := self.next(pattern)) is None:
            assert time.monotonic() < deadline, f"no {pattern} within {PATIENCE:g} s; printed: {self._latest()}"
        return line

    def join(self) -> None:
        """Wait until all has been read."""
        self._reader.join(PATIENCE)

    def _latest(self) -> list[str]:
        return self.all[-50:]

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.all.append(line)
                self._fresh.put(line)
        self._fresh.put(None)


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
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self._out, self._err = Lines(self.popen.stdout), Lines(self.popen.stderr)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Every entry that was printed so far."""
        return [json.loads(line) for line in list(self._out.all)]

    @property
    def stderr(self) -> list[str]:
        """Every line of its standard error so far."""
        return list(self._err.all)

    def wait_for(self, stage: str, **details: object) -> dict[str, Any]:
        """Return the next printed entry of that stage with those values."""
        wanted = f"{stage} {details or ''}"
        deadline = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                entry: dict[str, Any] = json.loads(self._out.next(wanted))
                if entry["stage"] == stage and details.items() <= entry.items():
                    return entry
        except AssertionError as error:
            raise AssertionError(f"{error}; stderr: {self.stderr}") from None
        raise AssertionError(f"no {wanted} within {PATIENCE:g} s; printed: {self._out.all[-50:]}, {self.stderr}")

    def wait_for_stderr(self, pattern: str) -> str:
        """Return the next line of its standard error with a match of the pattern."""
        return self._err.wait_for(pattern)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, once everything that was printed has been read."""
        try:
            code = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"has not ended; printed: {self._out.all[-50:]}, {self.stderr}") from None
        self._out.join()
        self._err.join()
        return code


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
