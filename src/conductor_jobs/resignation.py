"""A leader that gives the lease back and runs on: its work is drained first, under a lease that is still renewed."""

from collections.abc import Awaitable, Callable
from typing import final

import trio

from .term import EndReason, LossReason, TermScope


@final
class Resignation:
    """The chance of one term to be ended by its own node; `hold` is what holds the lease meanwhile."""

    def __init__(self, scope: TermScope) -> None:
        self._scope = scope
        self._asked = trio.Event()
        self._drain: Callable[[TermScope], Awaitable[None]] | None = None
        #: The lease was given back, or the term lost before that.
        self.over: trio.Event = trio.Event()

    def ask(self, drain: Callable[[TermScope], Awaitable[None]]) -> None:
        """Let nothing begin under the term any more, and have `drain` wait for the end of its work."""
        self._scope.close()
        self._drain = drain
        self._asked.set()

    async def hold(self, renew: Callable[[TermScope], Awaitable[LossReason]]) -> EndReason:
        """Renew until the lease is lost, or until the work is drained if that was asked for; return which it was."""
        reason: EndReason = "released"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain_when_asked, nursery.cancel_scope)
            reason = await renew(self._scope)
            nursery.cancel_scope.cancel()
        return reason

    @trio.lowlevel.enable_ki_protection
    async def _drain_when_asked(self, holding: trio.CancelScope) -> None:
        await self._asked.wait()
        assert self._drain is not None
        await self._drain(self._scope)
        holding.cancel()
