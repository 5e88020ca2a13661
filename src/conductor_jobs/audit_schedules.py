"""Which due instants were run, as all writers of a lease tell of it: each once, and in order (I19).

Due instants of a runner are taken in order, and terms rise. So of any two runs the one of the later term is of the
later instant, and clocks need not be compared: within one term the order of its writer's lines counts, between two
terms their numbers.
"""

from datetime import datetime
from typing import Final, final

import msgspec

from .audit_entries import Line, text
from .moments import iso

# What is kept is one run a runner, the latest; of more runners than anybody registers those that were met first go.
_RUNNERS_KEPT: Final = 20_000


@final
class ScheduledRun(msgspec.Struct, frozen=True):
    """The start of a run by schedule. `again`: its writer said before that nobody knows how far the last one came."""

    term: int
    due_at: datetime
    batch_id: str
    again: bool
    where: str


@final
class ScheduledRuns:
    """The runs by schedule under one lease: the latest of each runner."""

    def __init__(self) -> None:
        self._latest: dict[str, ScheduledRun] = {}

    def started(self, runner: str, run: ScheduledRun) -> str | None:
        """Take the start of a run, or of another attempt in it; return what it contradicts, in words, or None."""
        latest = self._latest.get(runner)
        if latest is None or run.term >= latest.term:
            self._keep(runner, run)
        if latest is None or (latest.term, latest.batch_id) == (run.term, run.batch_id):
            return None
        # Lines of two writers may come in any order: their terms tell which was first.
        earlier, later = (latest, run) if run.term >= latest.term else (run, latest)
        if later.due_at > earlier.due_at:
            return None
        if later.due_at < earlier.due_at:
            order = f"is run under term {later.term} after that due at {iso(earlier.due_at)}"
        elif later.again and later.term > earlier.term:
            return None
        else:
            order = f"is run twice, under term {earlier.term} and term {later.term}"
        return f"{runner} due at {iso(later.due_at)} {order} ({latest.where})"

    def _keep(self, runner: str, run: ScheduledRun) -> None:
        self._latest[runner] = run
        if len(self._latest) > _RUNNERS_KEPT:
            del self._latest[next(iter(self._latest))]


@final
class AnnouncedRuns:
    """Of one writer: which instants it said it would run again, as their runners' policy is."""

    def __init__(self) -> None:
        self._due_at: dict[str, str | None] = {}

    def take(self, entry: Line) -> None:
        """Take a `run_unknown`."""
        if text(entry, "on_crash") == "rerun":
            self._due_at[entry.runner] = text(entry, "due_at")

    def run_of(self, entry: Line, where: str, term: int, *, lines_missing: bool) -> ScheduledRun | None:
        """Return what a `runner_started` that has a due instant says, or None if that is none."""
        due = text(entry, "due_at") or ""
        try:
            due_at = datetime.fromisoformat(due)
        except ValueError:
            return None
        # Where lines are missing, one of them may have said so.
        again = self._due_at.get(entry.runner) == due or lines_missing
        return None if due_at.utcoffset() is None else ScheduledRun(term, due_at, entry.batch_id, again, where)
