"""What a test puts in place of the real thing: the journal, the wall clock, a runner's context, its thread."""

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import signature
from typing import Any, Never, final

import trio
from trio.testing import MockClock

from .. import threads
from ..clocks import Clocks, Instant
from ..cursors import checked_cursor
from ..failures import shown
from ..journal import Journal, JournalEntry
from ..lease import Holder
from ..recorder import Recorder
from ..registry import TimedJobs
from ..runners import TickContext, TickTrigger
from ..seconds import checked_seconds
from ..term import Term
from ..timing import LeaseTiming
from .memory_cursor import MemoryCursor


@final
class MemoryJournal:
    """A journal that keeps its entries: `Conductor(jobs, store=store, journal=MemoryJournal())`.

    `entries` are those that were flushed, in order; what a killed process would have lost is not among them. Details
    are kept as the runner gave them, not as JSON. Several conductors, and threads, may write to one journal.
    """

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self._added: list[JournalEntry] = []
        # Each conductor calls under a lock of its own. Reentrant, since a finaliser may log something too.
        self._lock = threading.RLock()

    def add(self, entry: JournalEntry) -> None:
        """See `Journal.add`."""
        with self._lock:
            self._added.append(entry)

    def flush(self) -> None:
        """See `Journal.flush`."""
        with self._lock:
            added, self._added = self._added, []
            self.entries += added

    def of(self, runner: str) -> list[JournalEntry]:
        """Return the entries under the name of one runner, in order."""
        return [entry for entry in self.entries if entry.runner == runner]

    def stages(self, runner: str | None = None) -> list[str]:
        """Return the stages in order, of one runner or of all."""
        return [entry.stage for entry in (self.entries if runner is None else self.of(runner))]

    def one(self, stage: str, runner: str | None = None) -> JournalEntry:
        """Return the only entry of a stage. Raises AssertionError, naming the stages there are, unless it is one."""
        found = [entry for entry in self.entries if entry.stage == stage and runner in (None, entry.runner)]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} entries of stage {stage!r}, not one, among {self.stages(runner)}")
        return found[0]


@final
class MockWallClock:
    """Wall time that follows Trio's clock, for the `wall_clock` of a conductor: it jumps ahead when MockClock does."""

    def __init__(self, start: float | datetime) -> None:
        """Show `start` now: unix seconds, or an aware datetime.

        Time counts from here when constructed in a Trio run, otherwise from the first call in one. Serves one run at a
        time; the next one goes on from where it stood. Raises ValueError for a naive datetime and a number that is
        not finite.
        """
        # Replaced as one, since threads read it: unix seconds, and the clock and its reading at that moment.
        self._origin: tuple[float, trio.abc.Clock | None, float] = (_unix_seconds(start), None, 0.0)
        self._stepped = 0.0
        self._follow_this_run()

    def __call__(self) -> float:
        """Return unix seconds. From any thread."""
        self._follow_this_run()
        return self._unstepped() + self._stepped

    def step(self, seconds: float) -> None:
        """Move the wall clock ahead of Trio's, or back by a negative number, as NTP or an operator would.

        Raises ValueError for what is not finite.
        """
        self._stepped += _finite("MockWallClock step", seconds)

    def _unstepped(self) -> float:
        unix, clock, began = self._origin
        return unix if clock is None else unix + (clock.current_time() - began)

    def _follow_this_run(self) -> None:
        # A worker thread is in no run: there, the clock that was followed last is read.
        if trio.lowlevel.in_trio_run() and (clock := trio.lowlevel.current_clock()) is not self._origin[1]:
            self._origin = (self._unstepped(), clock, clock.current_time())


def tick_context(
    *,
    runner: str = "runner",
    controller_id: str = "node",
    host: str = "host",
    term: int = 1,
    batch_id: str = "timed-jobs-0-1",
    trigger: TickTrigger = "manual",
    interval: float = 10.0,
    max_messages_per_tick: int = 10,
    max_tasks_per_tick: int = 10,
    settle_delay: float = 10.0,
    resources: Any = None,
    journal: Journal | None = None,
    lease_remaining: float | Callable[[], float] | None = None,
    cursor: str | None = None,
    due_at: datetime | None = None,
    wall_clock: Callable[[], float] = time.time,
    **unknown: Never,
) -> TickContext:
    """Return what a runner is given, to call it directly: `await project(tick_context(resources=database))`.

    In or outside of a Trio run, from any thread. Nothing cancels the runner: for that it needs a conductor.

    `interval` and `settle_delay`: seconds, with the limits what `ctx.config` holds. `resources`: what the application
    would hand to its conductor. `journal`: takes what `ctx.log` writes, a `MemoryJournal` for instance, under times
    of `wall_clock`, which returns unix seconds; None: nothing is written. The others are the fields of `TickContext`.
    `lease_remaining`: for how many seconds the term lasts from now, by the clock of this Trio run, or in real
    time outside of one; 0 is a term that is over, where `ctx.check_lease()` raises LeaseLost. Or a function that
    returns how many seconds remain, to end the term in the middle of a runner. None: what remains after a renewal,
    and always that much, as if each renewal came in time. `cursor`: what the runner has saved so far; what it saves
    now is kept in this context, so that `load_cursor_sync()` tells a test of it, on the loop too. `due_at`: an aware
    datetime, as a runner with a schedule has it.

    Raises TypeError for an unknown argument, naming the known ones, and ValueError for a setting that TimedJobs, or
    a number of seconds, would not allow, or a naive `due_at`; either for a cursor that could not have been saved.
    """
    if unknown:
        *known, _ = signature(tick_context).parameters
        raise TypeError(f"tick_context has no {', '.join(unknown)}; it takes {', '.join(known)}.")
    jobs = TimedJobs(
        interval=interval,
        max_messages_per_tick=max_messages_per_tick,
        max_tasks_per_tick=max_tasks_per_tick,
        settle_delay=settle_delay,
    )
    recorder = Recorder(wall_clock)
    recorder.attach(() if journal is None else (journal,))
    return TickContext(
        runner=runner,
        controller_id=controller_id,
        host=host,
        term=term,
        batch_id=batch_id,
        trigger=trigger,
        config=jobs.config,
        resources=resources,
        _term=_term(term, Holder(controller_id, "incarnation"), _remaining(lease_remaining)),
        _recorder=recorder,
        _cursors=MemoryCursor(None if cursor is None else checked_cursor(cursor, "tick_context: cursor")),
        due_at=None if due_at is None else _aware("tick_context due_at", due_at).astimezone(UTC),
    )


@contextmanager
def threads_inline() -> Generator[None, None, None]:
    """Run plain `def` runners on the loop, in this Trio run, until left: for virtual time, which runs past threads.

    A MockClock that jumps ahead on its own does so whenever the loop is idle, also while a worker thread is at
    work. Such a runner then takes no virtual time, and never exceeds its timeout. It blocks the loop for as long
    as it runs: no renewal, no other task. It has no thread: `trio.from_thread` does not work in it, nor does a
    `trio.run` of its own, nor do the methods of its cursor. Nothing can cancel it, as with a thread. Threads other
    than runners' stay threads.

    Every conductor of the run is affected, those of other runs are not. Raises RuntimeError outside of a Trio run.
    """
    # Counted, since two tasks of a run may be inside at once and leave in any order.
    threads.threads_inline.set(threads.threads_inline.get() + 1)
    try:
        yield
    finally:
        threads.threads_inline.set(threads.threads_inline.get() - 1)


def _term(number: int, holder: Holder, remaining: Callable[[], float]) -> Term:
    # A deadline of 0 on a clock that counts down to it; the other clock, standing still, never comes into it.
    clocks = Clocks(MockClock(), lambda: -remaining())
    return Term(number, "conductor", holder, clocks, Instant(trio=math.inf, boot=0.0))


def _remaining(lease_remaining: float | Callable[[], float] | None) -> Callable[[], float]:
    if callable(lease_remaining):
        return lease_remaining
    if lease_remaining is None:
        timing = LeaseTiming()
        return lambda: timing.ttl - timing.margin
    seconds = checked_seconds("tick_context lease_remaining", lease_remaining, zero_allowed=True)
    now = trio.lowlevel.current_clock().current_time if trio.lowlevel.in_trio_run() else time.monotonic
    began = now()
    return lambda: seconds - (now() - began)


def _unix_seconds(start: float | datetime) -> float:
    if not isinstance(start, datetime):
        return _finite("MockWallClock start", start)
    return _aware("MockWallClock start", start).timestamp()


def _aware(name: str, moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime, with a tzinfo, not {moment!r}.")
    return moment


def _finite(name: str, seconds: float) -> float:
    try:
        finite = math.isfinite(seconds)
    except (OverflowError, TypeError, ValueError):
        finite = False
    if not finite:
        raise ValueError(f"{name} must be a finite number of seconds, not {shown(seconds)}.")
    return float(seconds)
