"""The processes of a torture: started, struck, healed, and none of them left behind."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import trio

from .evidence import DeedKind, Folder
from .faults import Fault

ROOT = Path(__file__).parent.parent.parent
# Seconds after which whatever is waited for is not coming any more, however busy the machine is.
PATIENCE = 60.0
_LOOK = 0.005


@final
class Process:
    """A node, and the one life of it that runs now."""

    def __init__(
        self, name: str, folder: Folder, note: Callable[[DeedKind, str, int | None], None], module: str
    ) -> None:
        self._name = name
        self._module = module
        self._folder = folder
        self._note = note
        self._lives = 0
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def life(self) -> str:
        """The name of the life that runs, or that ran last."""
        return f"{self._name}.{self._lives}"

    async def strike(self, fault: Fault) -> None:
        """Do what the fault says, let it last, and heal the node."""
        if fault.kind in ("freeze", "hiccup"):
            self._note(fault.kind, self.life, None)
            self._send(signal.SIGSTOP)
        else:
            await self._end_by(signal.SIGTERM if fault.kind == "drain" else signal.SIGKILL, fault.kind)
        await trio.sleep(fault.seconds)
        await self.heal()

    async def stop(self) -> None:
        """Have it drain."""
        await self._end_by(signal.SIGTERM, "drain")

    async def heal(self) -> None:
        """Have the node run and be ready, whatever has become of it."""
        self._send(signal.SIGCONT)
        if self._has_ended():
            self.end()
            self._start()
        await self._wait(lambda: self._is_ready() or self._has_ended())

    def end(self) -> None:
        """Leave nothing of the life that runs, if any does; SIGKILL ends a process that is stopped, too."""
        if self._popen is not None:
            self._send(signal.SIGKILL)
            code = self._popen.wait()
            if self._popen.stdin is not None:
                self._popen.stdin.close()
            self._note("ended", self.life, code)
        self._popen = None

    async def _end_by(self, number: signal.Signals, kind: DeedKind) -> None:
        self._note(kind, self.life, None)
        self._send(number)
        await self._wait(self._has_ended)
        self.end()

    def _start(self) -> None:
        self._lives += 1
        command = [sys.executable, "-m", self._module, str(self._folder.path), self.life]
        with self._folder.stdout(self.life).open("wb") as out, self._folder.stderr(self.life).open("wb") as err:
            self._popen = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=err, process_group=0
            )
        self._note("started", self.life, None)

    def _send(self, number: signal.Signals) -> None:
        # Does nothing to a process that has ended, nor to a stranger that has its id by now.
        if self._popen is not None:
            self._popen.send_signal(number)

    def _has_ended(self) -> bool:
        return self._popen is None or self._popen.poll() is not None

    def _is_ready(self) -> bool:
        return self._folder.stdout(self.life).stat().st_size > 0

    async def _wait(self, condition: Callable[[], bool]) -> None:
        if not await wait_until(condition):
            self._note("stuck", self.life, None)


@contextmanager
def processes(
    nodes: int,
    folder: Folder,
    note: Callable[[DeedKind, str, int | None], None],
    module: str = "tests.torture.node",
) -> Generator[list[Process], None, None]:
    """Yield as many nodes, none of them running yet, and leave none behind."""
    cluster = [Process(f"n{number + 1}", folder, note, module) for number in range(nodes)]
    try:
        yield cluster
    finally:
        for process in cluster:
            process.end()


async def wait_until(condition: Callable[[], bool]) -> bool:
    """Return whether it has become true within PATIENCE."""
    with trio.move_on_after(PATIENCE):
        while not condition():
            await trio.sleep(_LOOK)
        return True
    return False
