"""The drain: how leader's work is brought to its end. It is waited for, for a time, and what is left then is cut.

A stop drains the work of the run, and nothing begins any more; a resignation drains that of a term, and the run goes
on. What is cut is cancelled; what cannot be, such as a thread, is waited for without a limit, for no lease may be
given back under work that is left (I7).
"""

import enum
from typing import final

import trio

from .election import Election
from .journal import FRAMEWORK
from .journal_files import JournalFiles
from .journal_sync import JournalSync
from .recorder import Recorder
from .single_runs import SingleRuns
from .term import EndReason, TermScope
from .ticks import TickGroup


class Phase(enum.Enum):
    """How far the work of a run has come; it only ever moves forward, and only on the loop."""

    RUNNING = "running"
    DRAINING = "draining"
    CANCELLING = "cancelling"


@final
class Drain:
    """Ends the work of one run, within `timeout` seconds unless it cannot be cancelled.

    `synced`: the files that the disk is to confirm after each tick, for which a stop waits as for work.
    """

    def __init__(
        self,
        election: Election,
        ticks: TickGroup,
        runs: SingleRuns,
        synced: JournalFiles | None,
        recorder: Recorder,
        timeout: float,
    ) -> None:
        self._election = election
        self._ticks = ticks
        self._runs = runs
        self._recorder = recorder
        self._timeout = timeout
        self._phase: Phase = Phase.RUNNING
        self._waiting = trio.CancelScope()
        self._clock = trio.lowlevel.current_clock()
        self._began: float | None = None
        self._ended: float | None = None
        self.sync: JournalSync = JournalSync(synced, self._is_cutting)

    @property
    def seconds(self) -> float | None:
        """For how long the work has been waited for since the stop, or was; None before. From any thread."""
        if self._began is None:
            return None
        return (self._clock.current_time() if self._ended is None else self._ended) - self._began

    def cut_short(self) -> None:
        """Have the work of the run cut now, or as soon as it is drained."""
        self._phase = Phase.CANCELLING
        self._waiting.cancel()

    async def drain_run(self) -> None:
        """Wait for the end of all work of the run; cut it when that takes too long."""
        if self._phase is Phase.RUNNING:
            self._phase = Phase.DRAINING
        self._recorder.write(FRAMEWORK, "stopping", result=self._phase.value)
        self._election.withdraw()
        self._began = self._clock.current_time()
        if (scope := self._election.scope) is not None:
            scope.end_services()
        self._waiting.deadline = trio.current_time() + self._timeout
        with self._waiting:
            await self._wait_idle()
            return
        await self._cut("drain_timeout" if self._phase is Phase.DRAINING else "cancelled")

    async def finish(self) -> None:
        """Cut whatever is left: nothing after a drain, but after an error all that is at work."""
        await self._cut("cancelled")
        self._ended = self._clock.current_time()

    async def drain_term(self, scope: TermScope) -> None:
        """Wait for the end of a term's work as a stop does; cut it when that takes too long."""
        scope.end_services()
        with trio.move_on_after(self._timeout):
            await self._wait_idle()
            return
        scope.end("drain_timeout")
        self.sync.cut()
        await self._wait_idle()

    async def _cut(self, reason: EndReason) -> None:
        if (scope := self._election.scope) is not None and not scope.is_idle:
            scope.end(reason)
        # Also the sync after a tick, the one in flight or one to come: a disk may hang.
        self._phase = Phase.CANCELLING
        self.sync.cut()
        with trio.CancelScope(shield=True):
            await self._wait_idle()

    def _is_cutting(self) -> bool:
        scope = self._election.scope
        return self._phase is Phase.CANCELLING or (scope is not None and scope.term.over == "drain_timeout")

    async def _wait_idle(self) -> None:
        await self._ticks.wait_idle()
        await self._runs.wait_idle()
        await self._election.wait_idle()
