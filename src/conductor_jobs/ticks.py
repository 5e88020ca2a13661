"""The tick task: who may have a tick, one tick at a time, and the grid on which interval ticks lie.

Whether a tick comes about is decided synchronously by whoever asks for it, before anything is queued (I12): a queue
of ticks that wait their turn would starve the drain. What was admitted travels to the tick task through a memory
channel, together with the term it was admitted under.
"""

import math
from collections.abc import Awaitable, Callable
from typing import final

import trio
from trio_util import AsyncValue

from .errors import ConductorStopped
from .execution import Tick
from .journal import FRAMEWORK
from .registry import TimedJobs
from .runners import Runner, TickTrigger
from .surroundings import Surroundings
from .term import TermScope
from .tick_results import TickResult
from .timeouts import TimeoutWatch


@final
class TickGroup:
    """Runners that are run together, one tick at a time; `serve` is the tick task."""

    def __init__(
        self,
        jobs: TimedJobs,
        surroundings: Surroundings,
        live_scope: Callable[[], TermScope | None],
        stopping: Callable[[], bool],
        paused: Callable[[], frozenset[str]],
    ) -> None:
        self._jobs = jobs
        self._surroundings = surroundings
        self._recorder = surroundings.recorder
        self._live_scope = live_scope
        self._stopping = stopping
        self._paused = paused
        self._timeouts = TimeoutWatch()
        # One tick is in flight at the most, so the channel never has to hold a second.
        self._send, self._receive = trio.open_memory_channel[Tick](1)
        self._in_flight: AsyncValue[Tick | None] = AsyncValue(None)
        self.last: TickResult | None = None
        self.missed_interval_count: int = 0

    @property
    def in_flight(self) -> Tick | None:
        """The tick that was admitted and has not ended."""
        return self._in_flight.value

    def request(self, trigger: TickTrigger, only: Runner | None = None) -> Tick | TickResult:
        """Admit a tick, or refuse it and journal why. Synchronous: the answer holds when it is given.

        `only`: of this runner alone, paused or not; otherwise of all that are not paused.
        """
        runners, paused = (self._jobs.runners, self._paused()) if only is None else ((only,), None)
        if self._stopping():
            return self._surroundings.refuse("skipped_stopping", trigger, len(runners))
        if self.in_flight is not None:
            return self._surroundings.refuse("skipped_busy", trigger, len(runners))
        if not runners:
            return self._surroundings.refuse("skipped_no_runners", trigger, 0)
        left_out: tuple[Runner, ...] = ()
        if paused:
            left_out = tuple(runner for runner in runners if runner.name in paused)
            runners = tuple(runner for runner in runners if runner.name not in paused)
        tick = Tick(
            self._recorder.next_batch_id(),
            trigger,
            runners,
            self._jobs.config,
            self._live_scope(),
            self._surroundings,
            self._timeouts,
            paused=left_out,
        )
        self._in_flight.value = tick
        self._send.send_nowait(tick)
        return tick

    @trio.lowlevel.enable_ki_protection
    async def serve(self, after_tick: Callable[[], Awaitable[None]]) -> None:
        """Execute what is admitted, for ever. Cancelling interrupts the tick in flight."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timeouts.run)
            async for tick in self._receive:
                try:
                    await tick.execute()
                    await after_tick()
                finally:
                    self.last = tick.result or self.last
                    self._in_flight.value = None
                    tick.ended.set()

    @trio.lowlevel.enable_ki_protection
    async def keep_interval(self) -> None:
        """Request a tick at start + n × interval until the stop, without drift; instants gone by are counted (I13)."""
        interval = self._jobs.config.interval
        start = trio.current_time()
        due = 1
        while True:
            await trio.sleep_until(start + due * interval)
            if self._stopping():
                return
            # Where every runner has a schedule of its own there is no group to have a tick.
            if self._jobs.runners or not self._jobs.scheduled:
                self.request("interval")
            next_due = max(due + 1, math.floor((trio.current_time() - start) / interval) + 1)
            self._count_missed(next_due - due - 1)
            due = next_due

    def abandon(self) -> None:
        """Let go of whoever waits for a tick that will never be executed: the tick task is gone."""
        if self.in_flight is not None:
            self.in_flight.ended.set()
            self._in_flight.value = None

    async def wait_idle(self) -> None:
        """Wait until no tick is in flight. Cancelling stops the waiting only."""
        await self._in_flight.wait_value(lambda tick: tick is None)

    def _count_missed(self, missed: int) -> None:
        if missed > 0:
            self.missed_interval_count += missed
            self._recorder.write(FRAMEWORK, "interval_missed", result="missed", details={"missed_tick_count": missed})


async def result_of(answer: Tick | TickResult) -> TickResult:
    """Wait for the end of a tick that was requested, if it was admitted. Cancelling stops the waiting only.

    Raises ConductorStopped when the conductor fails before the tick has ended.
    """
    if isinstance(answer, TickResult):
        await trio.lowlevel.checkpoint()
        return answer
    await answer.ended.wait()
    if answer.result is None:
        raise ConductorStopped("the conductor failed with this tick in flight")
    return answer.result
