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
from .execution import Surroundings, Tick, TickDecision, TickResult
from .journal import FRAMEWORK
from .registry import TimedJobs
from .runners import TickTrigger
from .term import TermScope
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
    ) -> None:
        self._jobs = jobs
        self._surroundings = surroundings
        self._recorder = surroundings.recorder
        self._live_scope = live_scope
        self._stopping = stopping
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

    def request(self, trigger: TickTrigger) -> Tick | TickResult:
        """Admit a tick, or refuse it and journal why. Synchronous: the answer holds when it is given."""
        batch_id = self._recorder.next_batch_id()
        runners = self._jobs.runners
        if self._stopping():
            return self._refuse(batch_id, "skipped_stopping", trigger, len(runners))
        if self.in_flight is not None:
            return self._refuse(batch_id, "skipped_busy", trigger, len(runners))
        if not runners:
            return self._refuse(batch_id, "skipped_no_runners", trigger, 0)
        tick = Tick(
            batch_id, trigger, runners, self._jobs.config, self._live_scope(), self._surroundings, self._timeouts
        )
        self._in_flight.value = tick
        self._send.send_nowait(tick)
        return tick

    async def run_tick(self, trigger: TickTrigger) -> TickResult:
        """Request a tick and wait for its end. Cancelling stops the waiting; the tick goes on.

        Raises ConductorStopped when the conductor fails before the tick has ended.
        """
        answer = self.request(trigger)
        if isinstance(answer, TickResult):
            await trio.lowlevel.checkpoint()
            return answer
        await answer.ended.wait()
        if answer.result is None:
            raise ConductorStopped("the conductor failed with this tick in flight")
        return answer.result

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

    def _refuse(self, batch_id: str, decision: TickDecision, trigger: TickTrigger, runner_count: int) -> TickResult:
        details = {"trigger": trigger}
        self._recorder.write(FRAMEWORK, f"tick_{decision}", batch_id, result=decision, details=details)
        self._surroundings.observers.tick_refused(decision)
        return TickResult(batch_id, decision, runner_count)

    def _count_missed(self, missed: int) -> None:
        if missed > 0:
            self.missed_interval_count += missed
            self._recorder.write(FRAMEWORK, "interval_missed", result="missed", details={"missed_tick_count": missed})
