"""A term: one unbroken holding of the lease, as the deadline of the cancel scopes that its work runs in.

`Term` is what leader's work may know: its number, what remains of the lease, and whether it is over. `TermScope`
is the engine's side of the same term: it opens a cancel scope for each piece of work, moves the deadline of all
of them with every confirmed renewal, and cancels them when the term ends. There is no other way in which work
is allowed to run, and so nothing that has to notice a lost lease.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol, final

import msgspec
import trio

from .clocks import Clocks, Instant
from .errors import LeaseLost
from .lease import Holder

LossReason = Literal["lease_expired", "lease_superseded"]
EndReason = Literal["lease_expired", "lease_superseded", "drain_timeout", "cancelled", "released"]


# The scopes of the work that the current task is part of, its own or that of a task above it.
_inside: ContextVar[tuple[trio.CancelScope, ...]] = ContextVar("leader's work", default=())


@final
class Term:
    """One unbroken holding of a lease. Its `number` rises with every term, for ever: the fencing token.

    `lease_name` and `holder` say of which lease, and whose.
    """

    __slots__ = ("_clocks", "_deadline", "_ended", "holder", "lease_name", "number")

    def __init__(self, number: int, lease_name: str, holder: Holder, clocks: Clocks, deadline: Instant) -> None:
        self.number: int = number
        self.lease_name: str = lease_name
        self.holder: Holder = holder
        self._clocks = clocks
        self._deadline = deadline
        self._ended: EndReason | None = None

    def __repr__(self) -> str:
        return f"<Term {self.number} of {self.lease_name!r}, {self.over or 'running'}>"

    @property
    def over(self) -> EndReason | None:
        """Why leader's work may not go on, or None while it may. A term past its deadline is no term."""
        return self._ended or ("lease_expired" if self._clocks.have_reached(self._deadline) else None)

    def lease_remaining(self) -> float:
        """Return the seconds for which work may go on unless the lease is renewed; 0.0 once the term is over."""
        return 0.0 if self._ended else max(0.0, self._clocks.remaining(self._deadline))

    def check_lease(self) -> None:
        """Return while the term lasts; raise LeaseLost once it is over. Synchronous, for any thread."""
        if reason := self.over:
            raise LeaseLost(f"term {self.number} of lease {self.lease_name!r} is over: {reason}")


class Doing(Protocol):
    """What a piece of work is doing, for whoever reports it; read from another thread at any moment."""

    @property
    def label(self) -> str:
        """The work in words."""
        ...

    @property
    def thread_id(self) -> int | None:
        """The thread that is at work, None while it is a task on the loop."""
        ...


@final
class Named(msgspec.Struct, frozen=True):
    """Work of which no more is known than what it is called; on the loop."""

    label: str
    thread_id: int | None = None


_NAMELESS = Named("work")


@final
class Work(msgspec.Struct, frozen=True, eq=False):
    """One piece of leader's work: the scope it runs in, the task that opened that, and what it is doing."""

    scope: trio.CancelScope
    task: trio.lowlevel.Task
    doing: Doing
    service: bool

    def tasks(self) -> list[trio.lowlevel.Task]:
        """Return the work's task, and below it those that were started in the work."""
        found = [self.task]
        for task in found:
            children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
            found += [child for child in children if self.scope in child.context.get(_inside, ())]
        return found


@final
class TermScope:
    """The engine's side of a term: the cancel scopes of its work, under one moving deadline."""

    def __init__(self, term: Term, margin: float, clocks: Clocks) -> None:
        self.term = term
        self._clocks = clocks
        self._margin = margin
        self._closed = False
        self._works: dict[trio.CancelScope, Work] = {}
        # Set by the last work to end; whoever waits replaces it, since it cannot be taken back.
        self._idle = trio.Event()

    @property
    def deadline(self) -> Instant:
        """Until when work may go on."""
        return self.term._deadline

    @property
    def admits(self) -> bool:
        """Whether work may begin under the term now."""
        return not self._closed and self.term.over is None

    def close(self) -> None:
        """Admit no more work; what is at work goes on."""
        self._closed = True

    def over_at(self, now: float) -> EndReason | None:
        """As `Term.over`, for whoever has just read Trio's clock; to read it twice costs 0.1 to 0.2 µs a runner."""
        term = self.term
        return term._ended or ("lease_expired" if self._clocks.have_reached_at(now, term._deadline) else None)

    def confirm(self, deadline: Instant) -> None:
        """Move the deadline of all work: the store has confirmed the lease."""
        self.term._deadline = deadline
        for scope in self._works:
            scope.deadline = deadline.trio

    def lease_lapsed(self) -> bool:
        """Return whether the lease is past its deadline, whatever has become of the work."""
        return self._clocks.remaining(self.deadline) <= 0

    def end(self, reason: EndReason) -> None:
        """Cancel all work and admit no more. The first reason stands."""
        if self.term._ended is None:
            self.term._ended = reason
        for scope in self._works:
            scope.cancel()

    def end_services(self) -> None:
        """Cancel the work that lasts for the whole term: a drain would wait for it in vain."""
        for work in self.works:
            if work.service:
                work.scope.cancel()

    @contextmanager
    def work(self, doing: Doing = _NAMELESS, *, service: bool = False) -> Generator[trio.CancelScope, None, None]:
        """Open a cancel scope for a piece of leader's work in the current task; the term counts it until it ends.

        `doing` is what the watchdog calls it. `service`: it is meant to last for the whole term, so that a drain
        cancels it at once.
        """
        scope = trio.CancelScope(deadline=self.deadline.trio)
        if self.term.over:
            scope.cancel()
        self._works[scope] = Work(scope, trio.lowlevel.current_task(), doing, service)
        inside = _inside.set((*_inside.get(), scope))
        try:
            with scope:
                yield scope
        finally:
            _inside.reset(inside)
            del self._works[scope]
            if not self._works:
                self._idle.set()

    def contains(self, task: trio.lowlevel.Task) -> bool:
        """Return whether a task is part of the term's work: runs it, or was started by it and descends from it."""
        workers = {self._works[scope].task for scope in task.context.get(_inside, ()) if scope in self._works}
        if workers and _is_trios_own(task.parent_nursery):
            # A thread of the work calls in through a token, in a system task of Trio's.
            return True
        above: trio.lowlevel.Task | None = task
        while workers and above is not None and above not in workers:
            above = None if above.parent_nursery is None else above.parent_nursery.parent_task
        return bool(workers) and above is not None

    @property
    def works(self) -> list[Work]:
        """The work of the term that is left; from any thread."""
        return list(self._works.values())

    @property
    def is_idle(self) -> bool:
        """Whether no work of the term is left."""
        return not self._works

    async def wait_idle(self) -> None:
        """Wait until no work of the term is left, threads included. Cancelling stops the waiting only."""
        if self.is_idle:
            await trio.lowlevel.checkpoint()
            return
        if self._idle.is_set():
            self._idle = trio.Event()
        await self._idle.wait()

    def honoured_for(self) -> float:
        """Return the seconds for which the store honours the lease unless it is renewed; negative once it may not."""
        return self._clocks.remaining(self.deadline.after(self._margin))

    def overrun(self) -> float:
        """Return the seconds for which the store has not honoured the lease any more, 0.0 while it does."""
        return max(0.0, -self.honoured_for())


def _is_trios_own(nursery: trio.Nursery | None) -> bool:
    return nursery is not None and nursery.parent_task is trio.lowlevel.current_root_task()
