"""How a runner is called, on the loop or in a thread, and what it may return."""

import functools
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import trio

from .failures import shown
from .runners import Runner, RunnerResult, TickContext
from .threads import threads_inline

_OK: Final = RunnerResult()
# A dict is a Mapping, but told to be one four times as fast.
_DETAILS: Final = (dict, type(None), Mapping)


# The tick task is protected from KeyboardInterrupt, the user's own code in it is not.
@trio.lowlevel.disable_ki_protection
async def call_on_loop(runner: Runner, context: TickContext) -> object:
    """Await the runner; raises what it raises, and KeyboardInterrupt in the middle of its code."""
    outcome: object = await runner.run(context)
    return outcome


async def call_in_thread(
    runner: Runner, context: TickContext, limiter: trio.CapacityLimiter, note_thread: Callable[[int | None], object]
) -> object:
    """Call the runner in a worker thread, which is waited for whatever happens; `note_thread` is told which it is."""
    if threads_inline.get():
        return _call_inline(runner, context)

    # Trio names the function in its errors.
    @functools.wraps(runner.run, updated=())
    def run_here() -> object:
        note_thread(threading.get_ident())
        try:
            outcome = runner.run(context)
        finally:
            note_thread(None)
        # Trio refuses it too, and does not say what to do.
        if isinstance(outcome, Coroutine):
            raise _no_result(outcome)
        return outcome

    return await trio.to_thread.run_sync(run_here, limiter=limiter)


@trio.lowlevel.disable_ki_protection
def _call_inline(runner: Runner, context: TickContext) -> object:
    outcome: object = runner.run(context)
    return outcome


def checked(outcome: Any) -> RunnerResult:
    """Return what a runner returned, with a plain dict for details. Raises TypeError for what no runner may return."""
    if outcome is None:
        return _OK
    # By their types, here as below: an object can pass itself off as a text by its `__class__`, and is none when it is
    # written.
    if not issubclass(type(outcome), RunnerResult):
        raise _no_result(outcome)
    result, details = outcome.result, outcome.details
    # What nearly all return; to tell it by the rules for all takes three times as long.
    if type(outcome) is RunnerResult and type(result) is str and (type(details) is dict or details is None):
        return outcome
    if not issubclass(type(result), str) or not issubclass(type(details), _DETAILS):
        raise TypeError(f"returned {shown(outcome)}, but result must be a text, details a mapping or None")
    # A copy, since a mapping of the user's may do anything, and is to do it here, as the runner's failure.
    return RunnerResult(result, dict(details or {}))


def _no_result(outcome: object) -> TypeError:
    if isinstance(outcome, Coroutine):
        outcome.close()
        return TypeError("returned a coroutine that nobody awaits: declare the runner `async def`")
    return TypeError(f"returned {shown(outcome)}, but a runner returns a RunnerResult or None")
