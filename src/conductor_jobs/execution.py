"""One admitted tick, from its `tick_started` to its last entry: the gate, the runners one by one, the decision."""

import functools
import itertools
import math
from collections.abc import Iterator
from datetime import datetime
from typing import final

import trio

from .attempts import Attempts
from .calls import call_in_thread, call_on_loop, checked
from .failures import error_text
from .journal import FRAMEWORK
from .moments import iso
from .observers import ObservedEntries, ObservedTick, TickEnd, TickFacts
from .runners import Runner, TickContext, TickTrigger, TimedJobsConfig
from .surroundings import Surroundings
from .term import EndReason, Term, TermScope
from .tick_entries import TickEntries, entries_of_tick
from .tick_results import TickDecision, TickResult
from .timeouts import TimeoutWatch

# A tick of runners that never wait would starve the renewals; yielding before each would double its cost.
YIELD_AFTER = 0.001


@final
class Tick:
    """A tick that was admitted, under the term that led at that moment, if any did."""

    def __init__(
        self,
        batch_id: str,
        trigger: TickTrigger,
        runners: tuple[Runner, ...],
        config: TimedJobsConfig,
        scope: TermScope | None,
        surroundings: Surroundings,
        timeouts: TimeoutWatch,
        *,
        paused: tuple[Runner, ...] = (),
        group: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        self.batch_id = batch_id
        self.result: TickResult | None = None
        self.ended: trio.Event = trio.Event()
        #: The worker thread in which a runner is at work now.
        self.thread_id: int | None = None
        self._trigger: TickTrigger = trigger
        self._runners = runners
        # One that is tried again comes before those that remain.
        self._remaining: Iterator[Runner] = iter(runners)
        self._to_begin = self._remaining
        self._paused = paused
        # What every entry of the tick says of it: what asked for it, of which group it is unless of all plain runners.
        self._about: dict[str, object] = {"trigger": trigger}
        if group is not None:
            self._about["group"] = group
        if due_at is not None:
            self._about["due_at"] = iso(due_at)
        self._due_at = due_at
        self._config = config
        self._scope = scope
        self._surroundings = surroundings
        self._recorder = surroundings.recorder
        self._timeouts = timeouts
        self._observed: ObservedTick | None = None
        self._begun = 0
        # The runner at work, and since when.
        self._at_work: Runner | None = None
        self._at_work_since = 0.0
        self._attempts = Attempts(self._recorder, batch_id)
        self._started_at = trio.current_time()

    @property
    def label(self) -> str:
        """What the tick is at, in words: the runner that it began last."""
        return f"runner {self._runners[self._begun - 1].name!r}" if self._begun else f"tick {self.batch_id}"

    def is_at(self, runner: str) -> bool:
        """Return whether the runner of this name is at work in the tick now."""
        return self._at_work is not None and self._at_work.name == runner

    async def execute(self) -> None:
        """Run the runners under the tick's term, or note for each that we do not lead; sets the result.

        Raises no Exception: an error outside of the runners is the tick's failure (seed 1.12). The end of the term
        interrupts the tick; a cancellation from further out, or an interrupt, is journaled and goes on.
        """
        self._started_at = trio.current_time()
        self._observed = self._surroundings.observers.tick_started(self._observable_facts)
        self._attempts.observed = self._observed
        # The first runner's start, or the tick's end, takes it along to the kernel.
        self._recorder.add(FRAMEWORK, "tick_started", self.batch_id, result="running", details=self._facts())
        if self._paused:
            self._skip(self._paused, "paused")
        try:
            if self._scope is None:
                self._skip_rest("skipped_not_leader")
                self._finish("tick_completed", "skipped_not_leader", "skipped_not_leader", details=self._facts())
            elif (reason := await self._under_term(self._scope)) is not None:
                self._interrupted(reason)
            else:
                result = "completed_with_failures" if self._attempts.failed else "scheduled"
                self._finish("tick_completed", "scheduled", result, details=self._outcome())
        except Exception as error:  # noqa: BLE001 - whatever failed, the next tick may not
            self._finish("tick_failed", "failed", "failed", error=error_text(error), details=self._facts())
        except BaseException:
            self._interrupted("cancelled")
            raise

    def _interrupted(self, reason: EndReason) -> None:
        self._skip_rest(reason)
        self._finish("tick_interrupted", "interrupted", reason, details=self._outcome())

    async def _under_term(self, scope: TermScope) -> EndReason | None:
        with scope.work(self):
            await self._run_runners(scope)
        return scope.term.over

    async def _run_runners(self, scope: TermScope) -> None:
        start_details = self._surroundings.start_details(scope.term, self._config, self._about)
        entries = entries_of_tick(self._recorder, self.batch_id, start_details)
        if self._observed is not None:
            entries = ObservedEntries(entries, self._observed)
        run = functools.partial(self._run_until_one_fails, scope, entries)
        if any(runner.timeout is not None for runner in self._runners):
            run = functools.partial(self._timeouts.watch_over, run)
        while True:
            try:
                await run()
            except BaseException as error:  # noqa: BLE001 - what is no failure of a runner goes on
                pause = self._judge(scope.term, error)
            else:
                return
            finally:
                entries.settle()
            if pause is not None:
                await self._step_back(pause)
            else:
                # A tick in which every runner fails must not starve the renewals either.
                await trio.lowlevel.checkpoint()

    async def _step_back(self, pause: float) -> None:
        """Wait, with the runner that was begun last to be begun again."""
        self._to_begin = itertools.chain(self._runners[self._begun - 1 : self._begun], self._remaining)
        try:
            await trio.sleep(pause)
        finally:
            # If the term ends in the pause, it is skipped like those that were never begun.
            self._begun -= 1

    async def _run_until_one_fails(self, scope: TermScope, entries: TickEntries) -> None:
        timeouts = self._timeouts
        shared = self._surroundings.shared_context(scope.term, self.batch_id, self._trigger, self._config, self._due_at)
        clock = trio.lowlevel.current_clock().current_time
        now = yielded_at = clock()
        for runner in self._to_begin:
            # Clocks are compared before each start (I2): a scope is only cancelled when the loop turns.
            if scope.over_at(now):
                return
            self._begun += 1
            context = TickContext(runner.name, *shared)
            # Write-ahead (I17): once a runner's code runs, its start is in the kernel.
            entries.started(runner.name)
            self._at_work = runner
            self._at_work_since = started_at = clock()
            # Once more if the disk took its time (I2); always would cost a twentieth of a short runner.
            if started_at - now > YIELD_AFTER:
                scope.term.check_lease()
            deadline = math.inf
            if runner.timeout is not None:
                deadline = started_at + runner.timeout
                timeouts.arm(deadline)
            if runner.in_thread:
                limiter = self._surroundings.thread_limiter
                outcome = await call_in_thread(runner, context, limiter, self._note_thread)
            else:
                outcome = await call_on_loop(runner, context)
            now = clock()
            # Judged by the clock: a runner that never yields, and a thread, return without having been cancelled.
            if now >= deadline:
                raise TimeoutError
            outcome = checked(outcome)
            if runner.timeout is not None:
                timeouts.disarm()
            self._at_work = None
            entries.completed(outcome.result, round((now - started_at) * 1000), outcome.details)
            if now - yielded_at > YIELD_AFTER:
                entries.settle()
                await trio.lowlevel.checkpoint()
                now = yielded_at = clock()

    def _note_thread(self, thread_id: int | None) -> None:
        self.thread_id = thread_id

    def _judge(self, term: Term, error: BaseException) -> float | None:
        """See `Attempts.judge`, of the runner at work."""
        runner, self._at_work = self._at_work, None
        if runner is None:
            raise error
        self._timeouts.disarm()
        return self._attempts.judge(runner, error, self._at_work_since, term)

    def _skip_rest(self, result: str) -> None:
        self._skip(self._runners[self._begun :], result)

    def _skip(self, runners: tuple[Runner, ...], result: str) -> None:
        for runner in runners:
            self._recorder.add(
                runner.name, "runner_skipped", self.batch_id, result=result, duration_ms=0, details=self._about
            )

    def _finish(
        self,
        stage: str,
        decision: TickDecision,
        result: str,
        *,
        details: dict[str, object],
        error: str | None = None,
    ) -> None:
        duration_ms = round((trio.current_time() - self._started_at) * 1000)
        self._recorder.write(
            FRAMEWORK, stage, self.batch_id, result=result, duration_ms=duration_ms, error=error, details=details
        )
        self.result = TickResult(self.batch_id, decision, len(self._runners), self._attempts.failed)
        if self._observed is not None:
            self._observed.ended(TickEnd(decision, result, error))

    def _observable_facts(self) -> TickFacts:
        term = None if self._scope is None else self._scope.term
        return TickFacts(
            self.batch_id,
            self._trigger,
            len(self._runners),
            self._surroundings.node.node_id,
            None if term is None else term.number,
            None if term is None else term.lease_name,
            self._due_at,
        )

    def _facts(self) -> dict[str, object]:
        return {"runner_count": len(self._runners), **self._about}

    def _outcome(self) -> dict[str, object]:
        return {
            "failed_runner_count": self._attempts.failed,
            "runner_count": len(self._runners),
            "successful_runner_count": self._begun - self._attempts.unsuccessful,
            **self._about,
        }
