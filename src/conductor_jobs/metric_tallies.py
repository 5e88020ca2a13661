"""What metrics count by themselves: ticks, runners, how late the loop is.

Plain numbers, since a runner may take no longer than they do: the client library's own counters take a lock for each.
They change on the loop only; whoever reads them in another thread may see sums and counts that are one apart.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import time
from typing import final, get_args

import trio

from .observers import RunnerEnd, RunnerOutcome, TickEnd, TickFacts
from .tick_results import TickDecision

# Of a runner that was registered when there were as many as have series of their own: all of them share one.
OTHERS = "(others)"


@final
class Histogram:
    """How many values lie up to each of the `bounds`, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Sequence[float] = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.sum: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@final
class RunnerTally:
    """What became of one runner's runs; `last_completed` is in unix seconds, None before the first."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.durations: Histogram = Histogram(bounds)
        self.outcomes: dict[str, int] = dict.fromkeys(get_args(RunnerOutcome), 0)
        self.last_completed: float | None = None

    def add(self, outcome: RunnerOutcome, seconds: float) -> None:
        """Count a run."""
        self.durations.add(seconds)
        self.outcomes[outcome] += 1
        if outcome == "completed":
            self.last_completed = time()


@final
class Tallies:
    """Counts the ticks and runs of one conductor; an `Observer`."""

    def __init__(self, bounds: Sequence[float], runner_limit: int) -> None:
        self._bounds = bounds
        self._runner_limit = runner_limit
        self.ticks: dict[str, int] = dict.fromkeys(get_args(TickDecision), 0)
        self.tick_durations: Histogram = Histogram(bounds)
        self.runners: dict[str, RunnerTally] = {}

    def of_runner(self, name: str) -> RunnerTally:
        """Return the tally of a runner, which may be the one of several."""
        if (tally := self.runners.get(name)) is not None:
            return tally
        if len(self.runners) >= self._runner_limit:
            name = OTHERS
        return self.runners.get(name) or self.runners.setdefault(name, RunnerTally(self._bounds))

    def tick_refused(self, decision: TickDecision) -> None:
        """Count a tick that there was not."""
        self.ticks[decision] += 1

    def tick_started(self, tick: TickFacts) -> "TallyOfTick":
        """Count this one once it has ended."""
        return TallyOfTick(self, of_leader=tick.term is not None)


@final
class TallyOfTick:
    """Measures a tick and its runners."""

    def __init__(self, tallies: Tallies, *, of_leader: bool) -> None:
        self._tallies = tallies
        self._of_leader = of_leader
        self._clock: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._began = self._clock()
        self._runner_began = 0.0

    def runner_started(self, runner: str) -> None:  # noqa: ARG002 - named at the end too
        """Begin to measure."""
        self._runner_began = self._clock()

    def runner_ended(self, end: RunnerEnd) -> None:
        """Count the run. Its result is the application's to choose, and so no label: there might be any number."""
        self._tallies.of_runner(end.runner).add(end.outcome, self._clock() - self._runner_began)

    def ended(self, end: TickEnd) -> None:
        """Count the tick; one of a standby takes no time that means anything."""
        self._tallies.ticks[end.decision] += 1
        if self._of_leader:
            self._tallies.tick_durations.add(self._clock() - self._began)
