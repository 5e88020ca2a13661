"""The journal: one entry per step, and the recorder through which the engine writes it.

The format of a line is the one of the system that this library began as: seven keys that are always there, in
alphabetical order, and then the details beside them.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, final, runtime_checkable

import msgspec
import trio

from .failures import error_text
from .stderr import tell

FRAMEWORK = "timed-jobs.framework"
LEASE = "timed-jobs.lease"


@final
class JournalEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: who (`runner`, `batch_id`), what (`stage`), how it came out, and `details` beside these keys.

    `duration_ms` is in milliseconds; `ts` is ISO 8601, UTC, to the millisecond, with a `Z`.
    """

    batch_id: str
    duration_ms: int | float | None
    error: str | None
    result: str | None
    runner: str
    stage: str
    ts: str
    details: Mapping[str, Any] = {}


@runtime_checkable
class Journal(Protocol):
    """Takes the entries of one conductor. Called under a lock, from the loop's thread and from runners' threads.

    Neither call may raise: a journal that fails counts what it lost, and never disturbs a tick.
    """

    def add(self, entry: JournalEntry) -> None:
        """Take an entry; it may be kept back until `flush`."""
        ...

    def flush(self) -> None:
        """Pass on everything that was added; once this returns, a killed process has not lost it."""
        ...


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
        self._lock = threading.RLock()
        self._sequence = 0
        self._stamped: tuple[int, str] = (-1, "")

    def attach(self, journals: Sequence[Journal]) -> None:
        """Write to these journals from now on; none means that nothing is written."""
        with self._lock:
            self._journals = journals
            self._broken.clear()

    def today(self) -> str:
        """Return the UTC date now, `YYYY-MM-DD`."""
        return self._timestamp()[:10]

    def next_batch_id(self) -> str:
        """Return `timed-jobs-<epoch milliseconds>-<sequence>`, the sequence counting from 1."""
        self._sequence += 1
        return f"timed-jobs-{int(self._wall_clock() * 1000)}-{self._sequence}"

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
        with self._lock:
            if self._journals:
                ts = self._timestamp()
                self._pass_on(JournalEntry(batch_id, duration_ms, error, result, runner, stage, ts, details or {}))

    @trio.lowlevel.enable_ki_protection
    def flush(self) -> None:
        """Pass on what was added: it is in the kernel when this returns (I17), unless the disk fails (I18)."""
        with self._lock:
            for journal in self._journals:
                try:
                    journal.flush()
                except Exception as error:  # noqa: BLE001 - as below
                    self._report(journal, error)

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
        self.add(runner, stage, batch_id, result=result, details=details, duration_ms=duration_ms, error=error)
        self.flush()

    def _pass_on(self, entry: JournalEntry) -> None:
        for journal in self._journals:
            try:
                journal.add(entry)
            except Exception as error:  # noqa: BLE001 - a journal of the user's never disturbs a tick (I18)
                self._report(journal, error)

    def _timestamp(self) -> str:
        milliseconds = int(self._wall_clock() * 1000)
        # Formatting costs more than the rest of an entry, and many entries fall into one millisecond.
        if self._stamped[0] != milliseconds:
            seconds, fraction = divmod(milliseconds, 1000)
            moment = datetime.fromtimestamp(seconds, UTC)
            self._stamped = (milliseconds, f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z")
        return self._stamped[1]

    def _report(self, journal: Journal, error: Exception) -> None:
        if id(journal) not in self._broken:
            self._broken.add(id(journal))
            complain(f"{type(journal).__name__} raised {type(error).__name__}: {error_text(error)}")


def complain(problem: str) -> None:
    """Say on stderr that the journal cannot be written (seed 2.5)."""
    tell(f"[timed-jobs-log] write failed: {problem}")
