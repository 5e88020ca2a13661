"""A runner's thread, and what it may have the loop do."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

# How many `threads_inline()` of the test kit are entered in this Trio run: MockClock jumps ahead past worker threads.
threads_inline: Final = trio.lowlevel.RunVar[int]("conductor_jobs.threads_inline", default=0)


def on_loop_of(token: trio.lowlevel.TrioToken) -> bool:
    """Return whether this is code of that Trio run, and not of another one or of a thread."""
    return trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is token


def await_on_loop(token: trio.lowlevel.TrioToken, call: Callable[[], Awaitable[T]]) -> T:
    """Have the Trio run await `call()`, in the place of the task whose worker thread this is; from any thread.

    So the call is cancelled with that task, where there is one; the thread then gets trio.Cancelled.
    """
    elsewhere = True

    async def call_here() -> T:
        nonlocal elsewhere
        elsewhere = not on_loop_of(token)
        if elsewhere:
            raise RuntimeError("this thread belongs to another Trio run")
        return await call()

    try:
        return trio.from_thread.run(call_here)
    except RuntimeError:
        if not elsewhere:
            raise
    # A thread that Trio did not start, or that another run did: no task of ours waits for it.
    return trio.from_thread.run(call, trio_token=token)
