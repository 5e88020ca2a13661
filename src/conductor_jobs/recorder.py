"""The recorder, through which the engine and its runners write the journal."""

import itertools
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, final

import trio

from .failures import error_text
from .journal import Journal, JournalEntry, complain


@final
class Recorder:
    """Stamps the engine's entries with time and batch id, and gives them to every journal.

    Protected from KeyboardInterrupt, which must not tear an entry or lose a line between buffer and disk.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._journals: Sequence[Journal] = ()
        # What `_journals` consists of: the journals of the present run, and those that stay from run to run.
        self._of_run: Sequence[Journal] = ()
        self._listening: tuple[Journal, ...] = ()
        self._broken: set[int] = set()
        self._wall_clock = wall_clock
        # Reentrant: the repr of a detail, or a finaliser, may log something of its own.
        self.lock: AbstractContextManager[object] = threading.RLock()
        # Counts in one step: the watchdog asks from a thread of its own.
        self._sequence = itertools.count(1)
        self._stamped_ms = -1
        self._stamp = ""

    @property
    def journals(self) -> Sequence[Journal]:
        """The journals that are written to now."""
        return self._journals

    def attach(self, journals: Sequence[Journal]) -> None:
        """Write to these journals of a run from now on, beside those that `writing_to` added."""
        with self.lock:
            self._of_run = journals
            self._rearrange()

    @contextmanager
    def writing_to(self, journal: Journal) -> Generator[None]:
        """Write to one more journal, whatever runs begin and end meanwhile."""
        with self.lock:
            self._listening = (*self._listening, journal)
            self._rearrange()
        try:
            yield
        finally:
            with self.lock:
                # By identity: a journal may compare equal to another.
                place = next(place for place, each in enumerate(self._listening) if each is journal)
                self._listening = self._listening[:place] + self._listening[place + 1 :]
                self._rearrange()

    def _rearrange(self) -> None:
        self._journals = (*self._of_run, *self._listening)
        self._broken.clear()

    def today(self) -> str:
        """Return the UTC date now, `YYYY-MM-DD`."""
        return self.timestamp()[:10]

    def now(self) -> datetime:
        """Return the time now, in UTC; by a wall clock of before 1970, with which schedules begin, that is 1970."""
        return datetime.fromtimestamp(max(0.0, self._wall_clock()), UTC)

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
