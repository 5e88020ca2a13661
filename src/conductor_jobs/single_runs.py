"""Runs of runners that have a schedule: each such runner is a group of its own, one tick in flight at a time (I12).

A slow one delays no other. Each run is a task of one nursery, which is open for as long as the conductor works.
"""

import contextlib
from collections.abc import Awaitable, Callable, Generator
from typing import Final, final

import msgspec
import trio
from trio_util import AsyncValue

from .errors import LeaseLost
from .execution import Tick
from .ledger import Ledger
from .registry import TimedJobs
from .runner_records import Claim
from .runners import Runner
from .surroundings import Surroundings
from .term import Named, TermScope
from .tick_results import TickResult
from .timeouts import TimeoutWatch

# Plain functions of so many runners may be at work in threads at once; any more wait for a thread.
_THREADS: Final = 100
_END_OF_RUN: Final = Named("the end of a run, to be told to the store")


@final
class SingleRuns:
    """The runs in flight; the nursery of `serve` owns them."""

    def __init__(
        self, jobs: TimedJobs, surroundings: Surroundings, ledger: Ledger, stopping: Callable[[], bool]
    ) -> None:
        self._jobs = jobs
        self._surroundings = msgspec.structs.replace(surroundings, thread_limiter=trio.CapacityLimiter(_THREADS))
        self._recorder = surroundings.recorder
        self._ledger = ledger
        self._stopping = stopping
        self._ticks: dict[str, Tick] = {}
        # What has begun and not ended: runs, and whoever is claiming what to begin.
        self._busy: AsyncValue[int] = AsyncValue(0)
        self._nursery: trio.Nursery | None = None
        #: Called with the name of a runner whose run has ended.
        self.on_end: Callable[[str], None] = lambda _: None

    @property
    def in_flight(self) -> tuple[str, ...]:
        """The names of the runners at work."""
        return tuple(self._ticks)

    def is_at_work(self, name: str) -> bool:
        """Return whether the runner of this name is at work."""
        return name in self._ticks

    @contextlib.contextmanager
    def occupied(self) -> Generator[None, None, None]:
        """Count as busy while inside: what is done here may begin a run."""
        self._busy.value += 1
        try:
            yield
        finally:
            self._busy.value -= 1

    async def wait_idle(self) -> None:
        """Wait until nothing is in flight. Cancelling stops the waiting only."""
        await self._busy.wait_value(0)

    def request(self, runner: Runner, scope: TermScope | None) -> Tick | TickResult:
        """Admit a run that belongs to no due instant, or refuse it and journal why. Synchronous."""
        if self._stopping() or self._nursery is None or self._nursery.cancel_scope.cancel_called:
            return self._surroundings.refuse("skipped_stopping", "manual", 1, group=runner.name)
        if runner.name in self._ticks:
            return self._surroundings.refuse("skipped_busy", "manual", 1, group=runner.name)
        return self._start(runner, scope, None)

    def begin(self, runner: Runner, claim: Claim, scope: TermScope) -> None:
        """Run a runner for the due instant of a claim that the store has confirmed."""
        self._start(runner, scope, claim)

    @trio.lowlevel.enable_ki_protection
    async def serve(
        self, keep_schedules: Callable[[], Awaitable[None]], after_run: Callable[[], Awaitable[None]]
    ) -> None:
        """Own the runs, and `keep_schedules()`, which begins them. Cancelling interrupts what is in flight."""
        self._after_run = after_run
        try:
            async with trio.open_nursery() as self._nursery:
                await keep_schedules()
                await trio.sleep_forever()
        finally:
            # The conductor has failed, and may have to wait for other work before it says so.
            self._nursery = None

    def _start(self, runner: Runner, scope: TermScope | None, claim: Claim | None) -> Tick:
        assert self._nursery is not None
        timeouts = TimeoutWatch()
        tick = Tick(
            self._recorder.next_batch_id(),
            "manual" if claim is None else "schedule",
            (runner,),
            self._jobs.config,
            scope,
            self._surroundings,
            timeouts,
            group=runner.name,
            due_at=None if claim is None else claim.due_at,
        )
        # Somebody may have had it run now while its instant was being claimed: then that comes next (I12).
        earlier = self._ticks.get(runner.name)
        self._ticks[runner.name] = tick
        self._busy.value += 1
        self._nursery.start_soon(self._run, runner, tick, timeouts, scope, claim, earlier)
        return tick

    @trio.lowlevel.enable_ki_protection
    async def _run(
        self,
        runner: Runner,
        tick: Tick,
        timeouts: TimeoutWatch,
        scope: TermScope | None,
        claim: Claim | None,
        earlier: Tick | None,
    ) -> None:
        try:
            if earlier is not None:
                await earlier.ended.wait()
            if runner.timeout is None:
                await tick.execute()
            else:
                async with trio.open_nursery() as watching:
                    watching.start_soon(timeouts.run)
                    await tick.execute()
                    watching.cancel_scope.cancel()
            await self._after_run()
            if claim is not None and scope is not None:
                await self._end(tick, claim, scope)
        finally:
            if self._ticks.get(runner.name) is tick:
                del self._ticks[runner.name]
            tick.ended.set()
            self.on_end(runner.name)
            self._busy.value -= 1

    async def _end(self, tick: Tick, claim: Claim, scope: TermScope) -> None:
        # A run that was interrupted has not ended: the next term is to know that nobody knows how far it came.
        if tick.result is not None and tick.result.decision == "scheduled":
            ended = msgspec.structs.replace(claim, result="failed" if tick.result.failed_runner_count else "completed")
            # As work of the term, or a drain that is cut would go on waiting for a store that does not answer.
            with contextlib.suppress(LeaseLost), scope.work(_END_OF_RUN):
                await self._ledger.claim(scope.term, [ended])
