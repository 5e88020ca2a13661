"""How a tick journals the start and the successful end of each runner, which is most of what a tick does.

With files alone, the usual case, lines are put together from pieces that are encoded once a tick, and the end of a
runner is written with the start of the next.
"""

from collections.abc import Mapping
from typing import Any, Protocol, final

import trio

from .journal_files import JournalFiles
from .journal_format import encode_number, encode_text, end_of_line, line_form
from .recorder import Recorder


class TickEntries(Protocol):
    """Journals the start and the successful end of runners, one after the other."""

    def started(self, runner: str) -> None:
        """Journal a start: when this returns it is in the kernel, with all that came before it (I17)."""
        ...

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """Journal the end of the runner that was started last, at the latest with the next start or when settled."""
        ...

    def settle(self) -> None:
        """Keep nothing back: call it before others of the loop's tasks can run."""
        ...


@final
class NoTickEntries:
    """For no journal at all."""

    def started(self, runner: str) -> None:
        """See `TickEntries`."""

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""

    def settle(self) -> None:
        """See `TickEntries`."""


@final
class PlainTickEntries:
    """For whatever journals there are."""

    def __init__(self, recorder: Recorder, batch_id: str, start_details: Mapping[str, Any]) -> None:
        self._recorder = recorder
        self._batch_id = batch_id
        self._start_details = start_details
        self._runner = ""

    def started(self, runner: str) -> None:
        """See `TickEntries`."""
        self._runner = runner
        self._recorder.write(runner, "runner_started", self._batch_id, result="running", details=self._start_details)

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""
        # A copy: the runner may change its dict later, and a journal keep what it was given.
        details = dict(details) if details else None
        self._recorder.add(
            self._runner, "runner_completed", self._batch_id, result=result, duration_ms=duration_ms, details=details
        )

    def settle(self) -> None:
        """See `TickEntries`: nothing is kept back."""


# The entries that every runner has, as forms to be filled in.
_START = line_form("batch_id", "runner", "ts", result="running", stage="runner_started")
_END = line_form("batch_id", "duration_ms", "result", "runner", "ts", stage="runner_completed")
_END_AND_START = _END + _START


@final
class TickLines:
    """For files alone: lines, with no entries in between, of an end and the next start at once.

    Forms filled in: half of what entries cost that are encoded one by one (`python -m benchmarks.ticks`).
    """

    def __init__(
        self, recorder: Recorder, files: JournalFiles, batch_id: str, start_details: Mapping[str, Any]
    ) -> None:
        self._recorder = recorder
        self._files = files
        self._batch_id = batch_id
        # What every line of the tick says, and the end of every start.
        self._batch = encode_text(batch_id)
        self._start = end_of_line(start_details)
        # Of the runner that was started last, what both of its lines say; and what only its second one says.
        self._name = b""
        self._ended: tuple[bytes, bytes, bytes] | None = None

    @trio.lowlevel.enable_ki_protection
    def started(self, runner: str) -> None:
        """See `TickEntries`."""
        batch, start, name = self._batch, self._start, encode_text(runner)
        with self._recorder.lock:
            ts = self._recorder.timestamp()
            stamp = encode_text(ts)
            if self._ended is None:
                lines = _START % (batch, name, stamp, start)
            else:
                duration_ms, result, end = self._ended
                self._ended = None
                lines = _END_AND_START % (batch, duration_ms, result, self._name, stamp, end, batch, name, stamp, start)
            self._name = name
            self._files.write_lines(lines, self._batch_id, ts)

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""
        self._ended = encode_number(duration_ms), encode_text(result), end_of_line(details)

    @trio.lowlevel.enable_ki_protection
    def settle(self) -> None:
        """See `TickEntries`."""
        if self._ended is not None:
            with self._recorder.lock:
                ts = self._recorder.timestamp()
                duration_ms, result, end = self._ended
                self._ended = None
                line = _END % (self._batch, duration_ms, result, self._name, encode_text(ts), end)
                self._files.add_lines(line, self._batch_id, ts)


def entries_of_tick(recorder: Recorder, batch_id: str, start_details: Mapping[str, Any]) -> TickEntries:
    """Return what journals the runners of a tick; `start_details` are those of each runner's start."""
    match recorder.journals:
        case []:
            return NoTickEntries()
        case [JournalFiles() as files]:
            return TickLines(recorder, files, batch_id, start_details)
        case _:
            return PlainTickEntries(recorder, batch_id, start_details)
