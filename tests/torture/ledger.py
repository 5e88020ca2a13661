"""The ledger of scheduled runs that real processes keep, and its judge: each due instant once, or told of (I19)."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, final

import msgspec

from conductor_jobs import Every, JournalEntry
from conductor_jobs.runners import Misfire, OnCrash
from conductor_jobs.schedules import due_instants
from conductor_jobs.violations import Violation

# See `evidence`: a line never crosses a page of memory.
_LINE_SIZE = 128


@final
class Scheduled(msgspec.Struct, frozen=True):
    """A runner of every process."""

    name: str
    schedule: Every
    misfire: Misfire = "run_once"
    on_crash: OnCrash = "report"


SCHEDULED = {
    each.name: each
    for each in (
        Scheduled("once", Every(1.0)),
        Scheduled("each", Every(1.0), misfire="run_all"),
        Scheduled("skips", Every(1.0), misfire="skip"),
        Scheduled("again", Every(1.0), on_crash="rerun"),
    )
}


@final
class Run(msgspec.Struct, frozen=True):
    """A line of the ledger: the token and the due instant that a run was given, and who ran."""

    runner: str
    due_at: datetime
    term: int
    life: str


@final
class LedgerHand:
    """Through which a life writes to the ledger: one write each."""

    def __init__(self, file: Path, life: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._life = life

    def enter(self, runner: str, due_at: datetime, term: int) -> None:
        """Enter a run."""
        line = msgspec.json.encode(Run(runner, due_at, term, self._life))
        assert len(line) < _LINE_SIZE
        os.write(self._file, line.ljust(_LINE_SIZE - 1) + b"\n")


def runs(file: Path) -> list[Run]:
    """Return the lines of a ledger, in the order of writing."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [msgspec.json.decode(line, type=Run) for line in lines]


def judge_ledger(entered: Sequence[Run], entries: Iterable[JournalEntry]) -> Iterator[Violation]:
    """Yield what is wrong with a ledger, beside the journals of all lives.

    An instant is in it once, and once more for each time that it was announced that it would be run again. From a
    runner's first instant to its last, those that are not in it are told of, as its policy allows.
    """
    told: dict[str, list[JournalEntry]] = {name: [] for name in SCHEDULED}
    for entry in entries:
        if entry.runner in told:
            told[entry.runner].append(entry)
    times = Counter((run.runner, run.due_at) for run in entered)
    for name, scheduled in SCHEDULED.items():
        account = _Account(scheduled, told[name])
        own = [run.due_at for run in entered if run.runner == name]
        for due_at in sorted(set(own)):
            if (count := times[name, due_at]) > account.allowed(due_at):
                yield Violation("ledger", "I19", f"{name} due at {due_at.isoformat()} was run {count} times")
        for due_at in _between(scheduled, own):
            if not times[name, due_at] and not account.tells(due_at):
                yield Violation("ledger", "I19", f"{name} due at {due_at.isoformat()} was neither run nor told of")


def summary(entered: Sequence[Run]) -> Iterator[str]:
    """Yield a line a runner: how much of what was due is in the ledger."""
    for name, scheduled in SCHEDULED.items():
        own = [run.due_at for run in entered if run.runner == name]
        due = sum(1 for _ in _between(scheduled, own))
        yield f"{name} ({scheduled.misfire}, {scheduled.on_crash}): {len(own)} runs, {len(set(own))} of {due} instants"


def _between(scheduled: Scheduled, own: Sequence[datetime]) -> Iterator[datetime]:
    if own:
        first, last = min(own), max(own)
        yield first
        for due_at in due_instants(scheduled.schedule, first):
            if due_at > last:
                return
            yield due_at


@final
class _Account:
    """What the journals tell of the instants of one runner that were not run, or not known to have been."""

    def __init__(self, scheduled: Scheduled, entries: Iterable[JournalEntry]) -> None:
        self._each = scheduled.misfire == "run_all"
        self._rerun = scheduled.on_crash == "rerun"
        self._unknown: Counter[datetime] = Counter()
        self._ranges: list[tuple[datetime, datetime, datetime | None]] = []
        for entry in entries:
            details = entry.details
            if entry.stage == "run_unknown":
                self._unknown[_moment(details["due_at"])] += 1
            elif entry.stage == "runner_misfired" or (entry.result, scheduled.misfire) == ("misfire", "skip"):
                run = details.get("run_due_at")
                ends = _moment(details["first_due_at"]), _moment(details["last_due_at"])
                self._ranges.append((*ends, None if run is None else _moment(run)))

    def allowed(self, due_at: datetime) -> int:
        """Return how often an instant may be run."""
        return 1 + (self._unknown[due_at] if self._rerun else 0)

    def tells(self, due_at: datetime) -> bool:
        """Return whether an instant that was not run is accounted for."""
        return self._unknown[due_at] > 0 or any(
            first <= due_at <= last and (run is None or (due_at < run if self._each else due_at != run))
            for first, last, run in self._ranges
        )


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(text)
