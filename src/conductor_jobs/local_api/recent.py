"""What is remembered of the journal: the latest ticks, runs and errors, within bounds, however many there are.

It is a journal itself, given to `Conductor.journaling_to`: written under the recorder's lock, by the loop and by
runners' threads, and read on the loop.
"""

import threading
from collections import OrderedDict, deque
from typing import Final, NamedTuple, final

from ..journal import FRAMEWORK, LEASE, JournalEntry
from .answers import ErrorAnswer, RunnerRuns, TickAnswer
from .runs import RunsOfOne, clipped
from .tick_record import TickRecord

MOST_TICKS: Final = 4000
MOST_RUNNERS: Final = 10_000
MOST_ERRORS: Final = 200
#: Of one kind, between two looks; after more, whoever listens is told to look at everything.
MOST_CHANGES: Final = 100


class Changes(NamedTuple):
    """What has changed between two looks. `too_many`: more than is listed here."""

    ticks: list[TickAnswer]
    runners: list[RunnerRuns]
    errors: list[ErrorAnswer]
    too_many: bool


@final
class Recent:
    """A journal that remembers the end of itself."""

    def __init__(self) -> None:
        # Reentrant, as the recorder's: a finaliser may log something in the middle of anything.
        self._lock = threading.RLock()
        # A dict finds its first key the slower the more were deleted before it.
        self._ticks: OrderedDict[str, TickRecord] = OrderedDict()
        self._runners: OrderedDict[str, RunsOfOne] = OrderedDict()
        self._errors: deque[ErrorAnswer] = deque(maxlen=MOST_ERRORS)
        self._changed_ticks: dict[str, None] = {}
        self._changed_runners: dict[str, None] = {}
        self._new_errors: list[ErrorAnswer] = []
        self._too_many = False
        #: When the latest of the ticks that are not remembered any more ended, or None while all are.
        self.forgotten_until: str | None = None

    def add(self, entry: JournalEntry) -> None:
        """Take an entry."""
        with self._lock:
            if entry.runner == FRAMEWORK:
                self._add_of_framework(entry)
            elif entry.runner != LEASE:
                self._add_of_runner(entry)
            if entry.error is not None:
                self._add_error(entry)

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""

    def ticks(self, limit: int) -> list[TickAnswer]:
        """Return the latest ticks, the latest first."""
        with self._lock:
            records = list(self._ticks.values())[-limit:] if limit else []
            return [record.answer() for record in reversed(records)]

    def errors(self, limit: int) -> list[ErrorAnswer]:
        """Return the latest errors, the latest first."""
        with self._lock:
            return list(self._errors)[: -limit - 1 : -1]

    def runs(self, name: str) -> RunnerRuns:
        """Return what is remembered of a runner."""
        with self._lock:
            runs = self._runners.get(name)
            return RunnerRuns(name) if runs is None else runs.answer()

    def take_changes(self) -> Changes:
        """Return what has changed since this was last called."""
        with self._lock:
            ticks = [self._ticks[each].answer() for each in self._changed_ticks if each in self._ticks]
            runners = [self._runners[each].answer() for each in self._changed_runners if each in self._runners]
            changes = Changes(ticks, runners, self._new_errors, self._too_many)
            self._changed_ticks, self._changed_runners, self._new_errors = {}, {}, []
            self._too_many = False
            return changes

    def _add_of_framework(self, entry: JournalEntry) -> None:
        if not entry.stage.startswith("tick_"):
            if entry.stage == "started":
                # What was at work in a run before has ended with it, whether or not that was journaled.
                for runs in self._runners.values():
                    runs.at_work_since = None
            return
        record = self._ticks.get(entry.batch_id)
        if record is None:
            record = self._ticks[entry.batch_id] = TickRecord(entry.batch_id)
            if len(self._ticks) > MOST_TICKS:
                _, forgotten = self._ticks.popitem(last=False)
                self.forgotten_until = forgotten.latest_ts
        record.add(entry)
        self._note(self._changed_ticks, entry.batch_id)

    def _add_of_runner(self, entry: JournalEntry) -> None:
        if entry.stage not in RunsOfOne.STAGES:
            return
        # The latest last, so that those are forgotten that have not run for longest.
        runs = self._runners.pop(entry.runner, None) or RunsOfOne(entry.runner)
        self._runners[entry.runner] = runs
        if len(self._runners) > MOST_RUNNERS:
            self._runners.popitem(last=False)
        runs.add(entry)
        if (record := self._ticks.get(entry.batch_id)) is not None:
            record.add_run(entry)
        self._note(self._changed_runners, entry.runner)

    def _add_error(self, entry: JournalEntry) -> None:
        result = None if entry.result is None else clipped(entry.result)
        error = ErrorAnswer(entry.ts, entry.runner, entry.stage, entry.batch_id, result, clipped(entry.error or ""))
        self._errors.append(error)
        if len(self._new_errors) < MOST_CHANGES:
            self._new_errors.append(error)
        else:
            self._too_many = True

    def _note(self, changed: dict[str, None], key: str) -> None:
        if len(changed) < MOST_CHANGES or key in changed:
            changed[key] = None
        else:
            self._too_many = True
