"""How a tick journals the start and the successful end of each runner, which is most of what a tick does.

With files alone, the usual case, lines are put together from pieces that are encoded once a tick, and the end of a
runner is written with the start of the next.
"""

from collections.abc import Mapping
from typing import Any, Protocol, final

import trio

from .journal_files import JournalFiles
from .journal_format import encode_number, encode_text, end_of_line, line_around
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


# The entries that every runner has, in the pieces between which stands what differs.
_START = line_around("batch_id", "runner", "ts", result="running", stage="runner_started")
_END = line_around("batch_id", "duration_ms", "result", "runner", "ts", stage="runner_completed")


@final
class TickLines:
    """For files alone: lines, with no entries in between, of an end and the next start at once.

    Bytes joined: half of what entries cost that are encoded one by one (`python -m benchmarks.ticks`).
    """

    def __init__(
        self, recorder: Recorder, files: JournalFiles, batch_id: str, start_details: Mapping[str, Any]
    ) -> None:
        self._recorder = recorder
        self._files = files
        self._batch_id = batch_id
        batch = encode_text(batch_id)
        before, before_runner, before_ts, after_ts = _START
        self._start = before + batch + before_runner, before_ts, after_ts + end_of_line(start_details)
        before, before_duration, *others = _END
        self._end = before + batch + before_duration, *others
        # Of the runner that was started last, what both of its lines say; and the rest of its second one.
        self._name = b""
        self._ended: tuple[bytes, bytes, bytes] | None = None

    @trio.lowlevel.enable_ki_protection
    def started(self, runner: str) -> None:
        """See `TickEntries`."""
        before_runner, before_ts, after_ts = self._start
        with self._recorder.lock:
            ts = self._recorder.timestamp()
            stamp = encode_text(ts)
            end = self._line_of_end(stamp)
            self._name = name = encode_text(runner)
            line = b"".join((end, before_runner, name, before_ts, stamp, after_ts))
            self._files.write_lines(line, self._batch_id, ts)

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""
        self._ended = encode_number(duration_ms), encode_text(result), end_of_line(details)

    @trio.lowlevel.enable_ki_protection
    def settle(self) -> None:
        """See `TickEntries`."""
        if self._ended:
            with self._recorder.lock:
                ts = self._recorder.timestamp()
                self._files.add_lines(self._line_of_end(encode_text(ts)), self._batch_id, ts)

    def _line_of_end(self, stamp: bytes) -> bytes:
        if self._ended is None:
            return b""
        duration_ms, result, end = self._ended
        self._ended = None
        before_duration, before_result, before_runner, before_ts, after_ts = self._end
        return b"".join(
            (
                before_duration,
                duration_ms,
                before_result,
                result,
                before_runner,
                self._name,
                before_ts,
                stamp,
                after_ts,
                end,
            )
        )


def entries_of_tick(recorder: Recorder, batch_id: str, start_details: Mapping[str, Any]) -> TickEntries:
    """Return what journals the runners of a tick; `start_details` are those of each runner's start."""
    match recorder.journals:
        case []:
            return NoTickEntries()
        case [JournalFiles() as files]:
            return TickLines(recorder, files, batch_id, start_details)
        case _:
            return PlainTickEntries(recorder, batch_id, start_details)
