"""The timeouts of runners: one watch for all of them, since a cancel scope each would cost as much as a short runner.

The watch is a task that sleeps until the deadline of the runner at work, and then cancels the scope that this runner
shares with those after it; the tick opens another scope for these. Runners that end in time do not wake it: it
sleeps on, and on waking goes by the deadline of whichever runner is at work by then. Only a deadline that comes
before its waking has to move that.
"""

import math
from collections.abc import Awaitable, Callable
from typing import final

import trio


@final
class TimeoutWatch:
    """Cancels the runner at work once its time is up; `run` is a task that lasts as long as runners are run."""

    def __init__(self) -> None:
        # What the runner at work runs in.
        self._scope = trio.CancelScope()
        self._deadline = math.inf
        self._sleep = trio.CancelScope()

    async def watch_over(self, run: Callable[[], Awaitable[None]]) -> None:
        """Await `run()`, which arms and disarms. Raises TimeoutError when it ended because a deadline had come."""
        with trio.CancelScope() as self._scope:
            await run()
            return
        raise TimeoutError

    def arm(self, deadline: float) -> None:
        """Cancel what is watched over at `deadline`, by Trio's clock, unless disarmed before that."""
        self._deadline = deadline
        if deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    def disarm(self) -> None:
        """Cancel nothing: the runner has ended."""
        self._deadline = math.inf

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._sleep:
                await trio.sleep_forever()
            if trio.current_time() >= self._deadline:
                self.disarm()
                self._scope.cancel()
