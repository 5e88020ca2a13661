"""The ticks of one writer: each has one end, and so has each attempt of a runner in it (I12)."""

from typing import final

from .audit_entries import Line, Report, text
from .audit_tally import Gap


@final
class OpenTick:
    """A tick that has begun and not ended, and the runner that is at work in it, if one is.

    `term` is that of the runner's start, 0 where it does not say; `late` counts the runner's acts after a newer term's.
    """

    __slots__ = ("group", "late", "retried", "retried_at", "runner", "runner_at", "seen", "term", "where")

    def __init__(self, where: str, group: str | None) -> None:
        self.where: str = where
        # The runner that has ticks of its own, None for the group of all that have not.
        self.group: str | None = group
        self.runner: str | None = None
        self.runner_at: str = ""
        self.term: int = 0
        self.late: int = 0
        self.seen: set[str] = set()
        # The runner that is to be tried again next.
        self.retried: str | None = None
        self.retried_at: str = ""


@final
class OpenTicks:
    """What a writer has begun and not ended, by batch id.

    After lines were lost an end may lack its beginning: it is passed over then, and counted.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._open: dict[str, OpenTick] = {}
        #: The first place where lines are missing, or None while all are there.
        self.gap: Gap | None = None

    def forget(self) -> None:
        """Take it that what was open may have ended, and other things begun."""
        self._open.clear()

    def doing(self) -> str:
        """Say what the writer was at."""
        runners = [tick.runner for tick in self._open.values() if tick.runner is not None]
        return f"in runner {runners[0]}" if runners else "in a tick" if self._open else "between ticks"

    def must_be_over(self, where: str, rule: str, what: str) -> None:
        """Report each tick that is in flight when something happens that has to wait for it."""
        for batch_id, tick in self._open.items():
            self._report(where, rule, f"{what} with tick {batch_id} in flight ({tick.where})")

    def begin(self, entry: Line, where: str) -> None:
        """Take a `tick_started`."""
        group = text(entry, "group")
        # Runners that have a schedule are groups of their own, and delay no other.
        for batch_id, tick in [*self._open.items()]:
            if tick.group == group:
                what = f"tick {entry.batch_id} begins with tick {batch_id} in flight ({tick.where})"
                self._report(where, "I12", what)
                del self._open[batch_id]
        self._open[entry.batch_id] = OpenTick(where, group)

    def end(self, entry: Line, where: str) -> None:
        """Take the end of a tick."""
        tick = self._open.pop(entry.batch_id, None)
        if tick is None:
            self._without_beginning(where, "I12", f"{entry.stage} of {entry.batch_id}, which is not in flight")
        elif tick.runner is not None:
            what = f"{entry.stage} of {entry.batch_id}, though {tick.runner} has not ended ({tick.runner_at})"
            self._report(where, "ends", what)
        elif tick.retried is not None and entry.stage == "tick_completed":
            what = f"{entry.stage} of {entry.batch_id}, though {tick.retried} was to be tried again ({tick.retried_at})"
            self._report(where, "ends", what)

    def begin_run(self, entry: Line, where: str, term: int) -> None:
        """Take a `runner_started`."""
        tick = self._open.get(entry.batch_id)
        if tick is None:
            self._without_beginning(where, "I12", f"{entry.runner} starts in {entry.batch_id}, which is not in flight")
            return
        if tick.runner is not None:
            what = f"{entry.runner} starts, though {tick.runner} of the same tick has not ended ({tick.runner_at})"
            self._report(where, "ends", what)
        elif entry.runner in tick.seen:
            self._report(where, "ends", f"{entry.runner} starts for the second time in {entry.batch_id}")
        elif tick.retried is not None:
            self._judge_retry(tick, entry.runner, where, term)
        tick.seen.add(entry.runner)
        tick.retried = None
        tick.runner, tick.runner_at, tick.term, tick.late = entry.runner, where, term, 0

    def end_run(self, entry: Line, where: str) -> None:
        """Take the end of a runner, or of an attempt of it, after which there is to be another one."""
        tick = self._open.get(entry.batch_id)
        what = f"{entry.stage} of {entry.runner} in {entry.batch_id}, where it is not at work"
        if tick is None:
            self._without_beginning(where, "ends", what)
        elif tick.runner != entry.runner:
            self._report(where, "ends", what)
        else:
            tick.runner = None
            if entry.stage == "runner_retrying":
                tick.retried, tick.retried_at = entry.runner, where
                tick.seen.discard(entry.runner)

    def of_run(self, entry: Line) -> OpenTick | None:
        """Return the tick in which the entry's runner is at work, or None."""
        tick = self._open.get(entry.batch_id)
        return tick if tick is not None and tick.runner == entry.runner else None

    def _judge_retry(self, tick: OpenTick, runner: str, where: str, term: int) -> None:
        if runner != tick.retried:
            what = f"{runner} starts, though {tick.retried} was to be tried again first ({tick.retried_at})"
            self._report(where, "ends", what)
        elif term != tick.term and term and tick.term:
            what = f"{runner} is tried again under term {term}, after an attempt under term {tick.term}"
            self._report(where, "I2", f"{what} ({tick.runner_at})")

    def _without_beginning(self, where: str, rule: str, what: str) -> None:
        if self.gap is None:
            self._report(where, rule, what)
        else:
            self.gap.passed_over += 1
