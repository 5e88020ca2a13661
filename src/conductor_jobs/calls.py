"""How a runner is called, on the loop or in a thread, and what it may return."""

from collections.abc import Coroutine, Mapping
from typing import Final

import trio

from .journal_format import safe_repr
from .runners import Runner, RunnerResult, TickContext

# How many `threads_inline()` of the test kit are entered in this Trio run: MockClock jumps ahead past worker threads.
threads_inline: Final = trio.lowlevel.RunVar[int]("conductor_jobs.threads_inline", default=0)
_OK: Final = RunnerResult()


# The tick task is protected from KeyboardInterrupt, the user's own code in it is not.
@trio.lowlevel.disable_ki_protection
async def call_on_loop(runner: Runner, context: TickContext) -> object:
    """Await the runner; raises what it raises, and KeyboardInterrupt in the middle of its code."""
    outcome: object = await runner.run(context)
    return outcome


async def call_in_thread(runner: Runner, context: TickContext, limiter: trio.CapacityLimiter) -> object:
    """Call the runner in a worker thread, which is waited for whatever happens."""
    if threads_inline.get():
        return _call_inline(runner, context)
    return await trio.to_thread.run_sync(runner.run, context, limiter=limiter)


@trio.lowlevel.disable_ki_protection
def _call_inline(runner: Runner, context: TickContext) -> object:
    outcome: object = runner.run(context)
    return outcome


def checked(outcome: object) -> RunnerResult:
    """Return what a runner returned, with a plain dict for details. Raises TypeError for what no runner may return."""
    if outcome is None:
        return _OK
    if not isinstance(outcome, RunnerResult):
        raise _no_result(outcome)
    result, details = outcome.result, outcome.details
    if isinstance(result, str) and (details is None or type(details) is dict):
        return outcome
    if not isinstance(result, str) or not isinstance(details, Mapping):
        raise TypeError(f"returned {safe_repr(outcome)}, but result must be a text, details a mapping or None")
    # A copy, since a mapping of the user's may do anything, and is to do it here, as the runner's failure.
    return RunnerResult(result, dict(details))


def _no_result(outcome: object) -> TypeError:
    if isinstance(outcome, Coroutine):
        outcome.close()
        return TypeError("returned a coroutine that nobody awaits: declare the runner `async def`")
    return TypeError(f"returned {safe_repr(outcome)}, but a runner returns a RunnerResult or None")
