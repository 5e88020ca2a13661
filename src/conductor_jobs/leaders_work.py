"""Leader's work of an application's own, beside the ticks: done once, or a service in every term of the node.

It runs in the task of whoever asks for it, in a scope of the term: it is counted and drained like a tick, and no lease
is given back under it (I7).
"""

from collections.abc import Awaitable, Callable
from typing import Literal

import trio

from .errors import ConductorStopped, LeaseLost
from .failures import shown
from .leadership import Leadership
from .term import Named, Term, TermScope

LeadersWork = Callable[[Term], Awaitable[object]]


async def run_as_leader(live: TermScope | None, work: LeadersWork) -> Literal["scheduled", "skipped_not_leader"]:
    """Await `work(term)` under the term that is live, if one is.

    What the work raises comes out as it is. Raises LeaseLost when the end of the term cancelled it. Cancelling cancels
    the work.
    """
    if live is None:
        await trio.lowlevel.checkpoint()
        return "skipped_not_leader"
    with live.work(_named("run_as_leader", work)) as scope:
        await work(live.term)
    if scope.cancelled_caught:
        raise LeaseLost(f"term {live.term.number} ended with the work in flight: {live.term.over}")
    return "scheduled"


async def run_while_leader(
    leadership: Leadership, live_scope: Callable[[], TermScope | None], work: LeadersWork
) -> None:
    """Await `work(term)` in every term, as a service of it, until the conductor has ended; see `run_as_leader`."""
    term: Term | None = None
    while True:
        try:
            term = await leadership.wait_leader(after=term)
        except ConductorStopped:
            return
        live = live_scope()
        if live is not None and live.term is term:
            with live.work(_named("run_while_leader", work), service=True):
                await work(live.term)


def _named(method: str, work: object) -> Named:
    return Named(f"{method}({getattr(work, '__qualname__', None) or shown(work)})")
