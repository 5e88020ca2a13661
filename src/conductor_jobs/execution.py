"""One admitted tick, from its `tick_started` to its last entry: the gate, the runners one by one, the decision."""

import functools
import math
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, Unpack, final

import msgspec
import trio

from .failures import error_text, shown, split_failure
from .journal import FRAMEWORK, EntryFields, Recorder
from .lease import Node
from .runners import Runner, RunnerResult, TickContext, TickTrigger, TimedJobsConfig
from .term import EndReason, Term, TermScope

TickDecision = Literal[
    "failed",
    "interrupted",
    "scheduled",
    "skipped_busy",
    "skipped_no_runners",
    "skipped_not_leader",
    "skipped_stopping",
]

# A tick of runners that never wait would starve the renewals; yielding before each would double its cost.
YIELD_AFTER = 0.001
# How many `threads_inline()` of the test kit are entered in this Trio run: MockClock jumps ahead past worker threads.
threads_inline: Final = trio.lowlevel.RunVar[int]("conductor_jobs.threads_inline", default=0)
_OK = RunnerResult()


@final
class TickResult(msgspec.Struct, frozen=True):
    """How a tick ended: its decision, how many runners it was for, and how many of them failed."""

    batch_id: str
    decision: TickDecision
    runner_count: int
    failed_runner_count: int = 0


@final
class Surroundings(msgspec.Struct, frozen=True):
    """What every tick of a run shares."""

    node: Node
    resources: Any
    recorder: Recorder
    thread_limiter: trio.CapacityLimiter


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
    ) -> None:
        self.batch_id = batch_id
        self.result: TickResult | None = None
        self.ended: trio.Event = trio.Event()
        self._trigger: TickTrigger = trigger
        self._runners = runners
        self._config = config
        self._scope = scope
        self._surroundings = surroundings
        self._recorder = surroundings.recorder
        self._begun = 0
        self._succeeded = 0
        self._failed = 0
        self._started_at = trio.current_time()
        #: The worker thread in which a runner is at work now.
        self.thread_id: int | None = None

    @property
    def label(self) -> str:
        """What the tick is at, in words: the runner that it began last."""
        return f"runner {self._runners[self._begun - 1].name!r}" if self._begun else f"tick {self.batch_id}"

    async def execute(self) -> None:
        """Run the runners under the tick's term, or note for each that we do not lead; sets the result.

        Raises no Exception: an error outside of the runners is the tick's failure (seed 1.12). The end of the term
        interrupts the tick; a cancellation from further out, or an interrupt, is journaled and goes on.
        """
        self._started_at = trio.current_time()
        self._recorder.write(FRAMEWORK, "tick_started", self.batch_id, result="running", details=self._facts())
        try:
            if self._scope is None:
                self._skip_rest("skipped_not_leader")
                self._finish("tick_completed", "skipped_not_leader", "skipped_not_leader", details=self._facts())
            elif (reason := await self._under_term(self._scope)) is not None:
                self._interrupted(reason)
            else:
                result = "completed_with_failures" if self._failed else "scheduled"
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
            await self._run_runners(scope.term)
        return scope.term.over

    async def _run_runners(self, term: Term) -> None:
        yielded_at = trio.current_time()
        for runner in self._runners:
            # Clocks are compared before each start (I2): a scope is only cancelled when the loop turns.
            if term.over:
                return
            self._begun += 1
            await self._run_runner(runner, term)
            if trio.current_time() - yielded_at > YIELD_AFTER:
                await trio.lowlevel.checkpoint()
                yielded_at = trio.current_time()
        await trio.lowlevel.checkpoint()

    async def _run_runner(self, runner: Runner, term: Term) -> None:
        context = self._context(runner, term)
        self._note(runner, "runner_started", result="running", details=self._start_details(term))
        # Write-ahead (I17): once a runner's code runs, its start is in the kernel.
        self._recorder.flush()
        started_at = trio.current_time()
        try:
            outcome = await self._call(runner, context)
        except BaseException as error:  # noqa: BLE001 - what is no failure goes on, below
            failure, rest = split_failure(error)
            self._note_unsuccessful(runner, term, failure, _ms_since(started_at))
            if rest is not None:
                raise rest from None
        else:
            self._succeeded += 1
            self._note(
                runner,
                "runner_completed",
                result=outcome.result,
                duration_ms=_ms_since(started_at),
                details=outcome.details,
            )

    async def _call(self, runner: Runner, context: TickContext) -> RunnerResult:
        deadline = trio.current_time() + (math.inf if runner.timeout is None else runner.timeout)
        outcome: object = None
        try:
            with trio.CancelScope(deadline=deadline):
                if runner.in_thread and not threads_inline.get():
                    outcome = await trio.to_thread.run_sync(
                        self._noting_thread(runner.run), context, limiter=self._surroundings.thread_limiter
                    )
                else:
                    outcome = await _call_interruptible(runner, context)
        except Exception:
            # What the cleanup of a runner raises that was timed out is no news beside the timeout.
            if trio.current_time() < deadline:
                raise
        # Judged by the clock: a runner that never yields, and a thread, return without having been cancelled.
        if trio.current_time() >= deadline:
            raise TimeoutError(f"timed out after {runner.timeout:g} s")
        return _checked(outcome)

    def _noting_thread(self, run: Callable[[TickContext], object]) -> Callable[[TickContext], object]:
        # Trio names the function in its errors.
        @functools.wraps(run, updated=())
        def run_here(context: TickContext) -> object:
            self.thread_id = threading.get_ident()
            try:
                return run(context)
            finally:
                self.thread_id = None

        return run_here

    def _note_unsuccessful(self, runner: Runner, term: Term, failure: Exception | None, duration_ms: int) -> None:
        error = None if failure is None else error_text(failure)
        # Once the term is over, what a runner's cleanup raises is part of its cancellation (I15).
        if failure is None or term.over:
            result = term.over or "cancelled"
            self._note(runner, "runner_cancelled", result=result, duration_ms=duration_ms, error=error)
        else:
            self._failed += 1
            self._note(runner, "runner_failed", result="failed", duration_ms=duration_ms, error=error)

    def _skip_rest(self, result: str) -> None:
        for runner in self._runners[self._begun :]:
            details = {"trigger": self._trigger}
            self._note(runner, "runner_skipped", result=result, duration_ms=0, details=details)

    def _finish(
        self,
        stage: str,
        decision: TickDecision,
        result: str,
        *,
        details: dict[str, object],
        error: str | None = None,
    ) -> None:
        duration_ms = _ms_since(self._started_at)
        self._recorder.write(
            FRAMEWORK,
            stage,
            self.batch_id,
            result=result,
            duration_ms=duration_ms,
            error=error,
            details=details,
        )
        self.result = TickResult(self.batch_id, decision, len(self._runners), self._failed)

    def _note(self, runner: Runner, stage: str, **fields: Unpack[EntryFields]) -> None:
        self._recorder.add(runner.name, stage, self.batch_id, **fields)

    def _context(self, runner: Runner, term: Term) -> TickContext:
        return TickContext(
            runner.name,
            self._surroundings.node.node_id,
            self._surroundings.node.host,
            term.number,
            self.batch_id,
            self._trigger,
            self._config,
            self._surroundings.resources,
            term,
            self._recorder,
        )

    def _facts(self) -> dict[str, object]:
        return {"runner_count": len(self._runners), "trigger": self._trigger}

    def _outcome(self) -> dict[str, object]:
        return {
            "failed_runner_count": self._failed,
            "runner_count": len(self._runners),
            "successful_runner_count": self._succeeded,
            "trigger": self._trigger,
        }

    def _start_details(self, term: Term) -> dict[str, object]:
        return {
            "controller_id": self._surroundings.node.node_id,
            "host": self._surroundings.node.host,
            "max_messages_per_tick": self._config.max_messages_per_tick,
            "max_tasks_per_tick": self._config.max_tasks_per_tick,
            "settle_delay_ms": round(self._config.settle_delay * 1000),
            "term": term.number,
            "trigger": self._trigger,
        }


# The tick task is protected from KeyboardInterrupt, the user's own code in it is not.
@trio.lowlevel.disable_ki_protection
async def _call_interruptible(runner: Runner, context: TickContext) -> object:
    outcome = runner.run(context)
    return outcome if runner.in_thread else await outcome


def _checked(outcome: object) -> RunnerResult:
    if outcome is None:
        return _OK
    if isinstance(outcome, Coroutine):
        outcome.close()
        raise TypeError("returned a coroutine that nobody awaits: declare the runner `async def`")
    if not isinstance(outcome, RunnerResult):
        raise TypeError(f"returned {shown(outcome)}, but a runner returns a RunnerResult or None")
    # By their types: an object can pass itself off as a text by its `__class__`, and is none when it is written.
    if not issubclass(type(outcome.result), str) or not issubclass(type(outcome.details), Mapping | None):
        raise TypeError(f"returned {shown(outcome)}, but result must be a text, details a mapping or None")
    # A copy, since a mapping of the user's may do anything, and is to do it here, as the runner's failure.
    return outcome if not outcome.details else RunnerResult(outcome.result, dict(outcome.details))


def _ms_since(moment: float) -> int:
    return round((trio.current_time() - moment) * 1000)
