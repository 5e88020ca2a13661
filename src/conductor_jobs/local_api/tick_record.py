"""What is remembered of one tick."""

from typing import Any, Final, cast, final, get_args

import msgspec

from ..journal import JournalEntry
from ..tick_results import TickDecision
from .answers import Failure, TickAnswer
from .runs import clipped, run_of

_MOST_FAILURES: Final = 5
_DECISIONS: Final = frozenset(get_args(TickDecision))


@final
class TickRecord:
    """A tick, from its first entry to its last."""

    __slots__ = ("_failed", "_failures", "_first", "_last", "_runner", "batch_id")

    def __init__(self, batch_id: str) -> None:
        self.batch_id: str = batch_id
        self._first: JournalEntry | None = None
        self._last: JournalEntry | None = None
        self._failures: tuple[Failure, ...] = ()
        self._failed = 0
        self._runner: str | None = None

    @property
    def latest_ts(self) -> str | None:
        """The time of the latest entry of the tick itself, None before there is one."""
        told = self._last or self._first
        return None if told is None else told.ts

    def add(self, entry: JournalEntry) -> None:
        """Take an entry of the tick itself."""
        if entry.error is not None:
            entry = msgspec.structs.replace(entry, error=clipped(entry.error))
        if entry.stage == "tick_started":
            self._first = entry
        else:
            self._last = entry

    def add_run(self, entry: JournalEntry) -> None:
        """Take an entry of one of its runners."""
        if entry.stage == "runner_started":
            self._runner = entry.runner
            return
        run = run_of(entry, None)
        self._failed += run.outcome == "failed"
        if run.outcome != "completed" and len(self._failures) < _MOST_FAILURES:
            self._failures += (Failure(entry.runner, run.outcome, run.result, run.error),)

    def answer(self) -> TickAnswer:
        """Return what is remembered."""
        first, last = self._first, self._last
        told = last or first
        details: Any = {} if told is None else told.details
        count = details.get("runner_count", 0)
        return TickAnswer(
            batch_id=self.batch_id,
            trigger=details.get("trigger"),
            started_at=None if first is None else first.ts,
            ended_at=None if last is None else last.ts,
            duration_ms=None if last is None else last.duration_ms,
            decision=None if last is None else _decision_of(last),
            result=None if last is None else last.result,
            error=None if last is None else last.error,
            runner=details.get("group") or (self._runner if count == 1 else None),
            due_at=details.get("due_at"),
            runner_count=count,
            failed_runner_count=details.get("failed_runner_count", self._failed),
            failures=self._failures,
        )


def _decision_of(last: JournalEntry) -> TickDecision | None:
    if last.stage == "tick_completed":
        return "skipped_not_leader" if last.result == "skipped_not_leader" else "scheduled"
    decision = last.stage.removeprefix("tick_")
    return cast("TickDecision", decision) if decision in _DECISIONS else None
