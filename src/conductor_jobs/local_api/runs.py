"""What is remembered of one runner's runs."""

from collections import deque
from typing import Final, final

from ..journal import JournalEntry
from .answers import Run, RunnerRuns, RunOutcome

#: Of the latest runs, for a sparkline.
MOST_RUNS: Final = 30
_LONGEST_TEXT: Final = 2000
_OUTCOMES: Final[dict[str, RunOutcome]] = {
    "runner_completed": "completed",
    "runner_failed": "failed",
    "runner_cancelled": "cancelled",
}


def clipped(text: str) -> str:
    """Return a text, or its beginning: an error's text may be of any length, and is kept for long."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


@final
class RunsOfOne:
    """The latest runs of a runner, and how many there were."""

    #: Of the journal's entries, those that tell of a run.
    STAGES: Final = frozenset({"runner_started", *_OUTCOMES})

    __slots__ = ("_durations_ms", "_failed", "_last", "_name", "_outcomes", "_runs", "at_work_since")

    def __init__(self, name: str) -> None:
        self._name = name
        self._durations_ms: deque[int | float] = deque(maxlen=MOST_RUNS)
        self._outcomes: deque[RunOutcome] = deque(maxlen=MOST_RUNS)
        self._last: Run | None = None
        self._runs = 0
        self._failed = 0
        #: When the run at work began.
        self.at_work_since: str | None = None

    def add(self, entry: JournalEntry) -> None:
        """Take an entry that is one of STAGES."""
        if entry.stage == "runner_started":
            self.at_work_since = entry.ts
            return
        outcome = _OUTCOMES[entry.stage]
        self._last = run_of(entry, self.at_work_since)
        self.at_work_since = None
        self._runs += 1
        self._failed += outcome == "failed"
        self._durations_ms.append(entry.duration_ms or 0)
        self._outcomes.append(outcome)

    def answer(self) -> RunnerRuns:
        """Return what is remembered."""
        return RunnerRuns(
            self._name,
            self.at_work_since,
            self._last,
            self._runs,
            self._failed,
            tuple(self._durations_ms),
            tuple(self._outcomes),
        )


def run_of(entry: JournalEntry, started_at: str | None) -> Run:
    """Return the run whose end an entry tells."""
    return Run(
        batch_id=entry.batch_id,
        started_at=started_at,
        ended_at=entry.ts,
        duration_ms=entry.duration_ms,
        outcome=_OUTCOMES[entry.stage],
        result=None if entry.result is None else clipped(entry.result),
        error=None if entry.error is None else clipped(entry.error),
    )
