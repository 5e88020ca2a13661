"""The recorder, through which the engine and its runners write the journal."""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, final

import trio

from .failures import error_text
from .journal import Journal, JournalEntry, complain
from .journal_files import JournalFiles
from .journal_format import encode_number, encode_text, end_of_line, line_around


@final
class Recorder:
    """Stamps the engine's entries with time and batch id, and gives them to every journal.

    Protected from KeyboardInterrupt, which must not tear an entry or lose a line between buffer and disk.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._journals: Sequence[Journal] = ()
        self._broken: set[int] = set()
        self._wall_clock = wall_clock
        # Reentrant: the repr of a detail, or a finaliser, may log something of its own.
        self.lock = threading.RLock()
        # Counts in one step: the watchdog asks from a thread of its own.
        self._sequence = itertools.count(1)
        self._stamped_ms = -1
        self._stamp = ""

    def tick(self, batch_id: str, start_details: Mapping[str, Any]) -> "TickEntries":
        """Return what journals the runners of a tick; `start_details` are those of each runner's start."""
        match self._journals:
            case []:
                return NoTickEntries()
            case [JournalFiles() as files]:
                return TickLines(self, files, batch_id, start_details)
            case _:
                return PlainTickEntries(self, batch_id, start_details)

    def attach(self, journals: Sequence[Journal]) -> None:
        """Write to these journals from now on; none means that nothing is written."""
        with self.lock:
            self._journals = journals
            self._broken.clear()

    def today(self) -> str:
        """Return the UTC date now, `YYYY-MM-DD`."""
        return self.timestamp()[:10]

    def next_batch_id(self) -> str:
        """Return `timed-jobs-<epoch milliseconds>-<sequence>`, the sequence counting from 1."""
        return f"timed-jobs-{int(self._wall_clock() * 1000)}-{next(self._sequence)}"

    @trio.lowlevel.enable_ki_protection
    def add(
        self,
        runner: str,
        stage: str,
        batch_id: str,
        *,
        result: str | None = None,
        details: Mapping[str, Any] | None = None,
        duration_ms: float | None = None,
        error: str | None = None,
    ) -> None:
        """Take an entry that the next flush passes on."""
        with self.lock:
            if self._journals:
                ts = self.timestamp()
                self._add(JournalEntry(batch_id, duration_ms, error, result, runner, stage, ts, details or {}))

    @trio.lowlevel.enable_ki_protection
    def write(
        self,
        runner: str,
        stage: str,
        batch_id: str | None = None,
        *,
        result: str | None = None,
        details: Mapping[str, Any] | None = None,
        duration_ms: float | None = None,
        error: str | None = None,
    ) -> None:
        """Take an entry and pass it on at once; without a batch id it gets a number of its own."""
        batch_id = batch_id or self.next_batch_id()
        with self.lock:
            if self._journals:
                ts = self.timestamp()
                self._add(JournalEntry(batch_id, duration_ms, error, result, runner, stage, ts, details or {}))
                self._flush()

    @trio.lowlevel.enable_ki_protection
    def flush(self) -> None:
        """Pass on what was added: it is in the kernel when this returns (I17), unless the disk fails (I18)."""
        with self.lock:
            self._flush()

    def _add(self, entry: JournalEntry) -> None:
        for journal in self._journals:
            try:
                journal.add(entry)
            except Exception as error:  # noqa: BLE001 - a journal of the user's never disturbs a tick (I18)
                self._report(journal, error)

    def _flush(self) -> None:
        for journal in self._journals:
            try:
                journal.flush()
            except Exception as error:  # noqa: BLE001 - as above
                self._report(journal, error)

    def timestamp(self) -> str:
        """Return the time now, as entries bear it."""
        milliseconds = int(self._wall_clock() * 1000)
        # Formatting costs more than the rest of an entry, and many entries fall into one millisecond.
        if self._stamped_ms != milliseconds:
            seconds, fraction = divmod(milliseconds, 1000)
            moment = datetime.fromtimestamp(seconds, UTC)
            self._stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"
            self._stamped_ms = milliseconds
        return self._stamp

    def _report(self, journal: Journal, error: Exception) -> None:
        if id(journal) not in self._broken:
            self._broken.add(id(journal))
            complain(f"{type(journal).__name__} raised {type(error).__name__}: {error_text(error)}")


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
