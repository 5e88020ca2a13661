"""One run of a conductor: the nurseries, and the order in which everything ends.

    outer nursery             its body waits, and turns a cancellation or an interrupt from outside into a stop
      child, shielded         nothing in here is cancelled from outside
        lease nursery         lease task, heartbeats, retention
          work nursery        tick task, interval timer, schedule task and its runs; its body waits for the stop and
                              drains
        (here no work is left, and the renewer has been joined)
        release, last heartbeat, `stopped`, watchdog joined, journal closed

The nesting is the guarantee: the renewer outlives the work (I8) and the release comes after both (I7) however the
work ends, by a drain, by an error of ours or by a KeyboardInterrupt. All of it runs in child tasks that are
protected from KeyboardInterrupt; Trio delivers it to the main task, whose only waits here are the outer body and the
join.
"""

import contextlib
import os
from collections.abc import Callable
from typing import final

import trio
from trio_util import wait_any

from .arguments import Plan
from .candidate import Candidate
from .clocks import Clocks
from .cursors import StoredCursors
from .drain import Drain
from .election import Election
from .execution import Tick
from .heartbeats import Heartbeats
from .journal import FRAMEWORK
from .leadership import Leadership
from .lease import Holder, NodeState, keeps_nodes
from .ledger import Ledger
from .recorder import Recorder
from .retention import Retention
from .runners import Runner
from .scheduler import Scheduler
from .single_runs import SingleRuns
from .standby import Standby
from .surroundings import Surroundings
from .term import TermScope
from .tick_results import TickResult
from .ticks import TickGroup
from .watchdog import Watchdog


@final
class Supervisor:
    """Owns every task of one run. `run` returns when all of them have ended and the lease is given back."""

    def __init__(self, plan: Plan, recorder: Recorder, leadership: Leadership) -> None:
        self.plan = plan
        self._given = given = plan.given
        self.pid: int = os.getpid()
        self._recorder = recorder
        self._token = trio.lowlevel.current_trio_token()
        # Written by whoever requests the stop, in any thread or signal handler.
        self._stop_wanted = False
        self._stop_begun = trio.Event()
        #: The run has nothing left to do but to return.
        self.ended: trio.Event = trio.Event()
        clocks = Clocks(trio.lowlevel.current_clock(), given.boot_clock)
        holder = Holder(plan.node.node_id, plan.incarnation)
        candidate = Candidate(given.store, given.lease_name, holder, given.timing, clocks, recorder)
        standby = Standby(given.store, given.lease_name, given.timing, plan.node.priority)
        self.watchdog: Watchdog = Watchdog(clocks, recorder, given.on_overrun)
        self.election: Election = Election(candidate, standby, leadership, self.watchdog.watch)
        cursors = StoredCursors(given.store, given.lease_name, given.timing.store_timeout)
        limiter = trio.CapacityLimiter(1)
        surroundings = Surroundings(plan.node, given.resources, recorder, limiter, cursors, plan.observers)
        self.ledger: Ledger = Ledger(given.store, given.lease_name, given.timing, recorder)
        self.ticks: TickGroup = TickGroup(
            given.jobs, surroundings, self._live_scope, lambda: self.stopping, lambda: self.ledger.paused
        )
        self.runs: SingleRuns = SingleRuns(given.jobs, surroundings, self.ledger, lambda: self.stopping)
        self._scheduler = Scheduler(
            given.jobs, self.runs, self.ledger, recorder, leadership, self._live_scope, lambda: self.stopping
        )
        synced = None if given.journal_sync is None else plan.files
        self.drain: Drain = Drain(self.election, self.ticks, self.runs, synced, recorder, given.drain_timeout)
        self.heartbeats: Heartbeats | None = None
        if keeps_nodes(given.store):
            self.heartbeats = Heartbeats(
                given.store, given.lease_name, plan.node, plan.incarnation, given.timing, recorder, self._fingerprint
            )

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested: nothing may begin any more."""
        return self._stop_wanted

    @property
    def live_scope(self) -> TermScope | None:
        """The scope of a term under which the application's own work may begin now, or None."""
        return None if self.stopping else self.election.live_scope

    def request_stop(self) -> None:
        """Begin to stop. Synchronous, idempotent, from any thread and from signal handlers."""
        self._stop_wanted = True
        # An Event that is set in a signal handler may lose a waiter: it is set on the loop instead.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._stop_begun.set, idempotent=True)

    def cancel_work(self) -> None:
        """Stop without waiting for the work: what can be cancelled is. Called on the loop."""
        self.request_stop()
        self.drain.cut_short()

    def request_run(self, runner: Runner) -> Tick | TickResult:
        """Admit a run of one runner now, or refuse it and journal why. Synchronous."""
        if runner.schedule is None:
            return self.ticks.request("manual", runner)
        return self.runs.request(runner, self._live_scope())

    def is_in_work(self, task: trio.lowlevel.Task) -> bool:
        """Return whether a task is leader's work, for which waiting for the stop would be waiting for itself."""
        scope = self.election.scope
        return scope is not None and scope.contains(task)

    @trio.lowlevel.enable_ki_protection
    async def run(self, started: Callable[[], None]) -> None:
        """Run until stopped; `started` is called after the store's first answer, or once that is overdue.

        A cancellation from outside is a stop, and goes on once that is done; an interrupt cancels the work first.
        """
        async with trio.open_nursery() as outer:
            outer.start_soon(self._run_shielded, started)
            try:
                await self.ended.wait()
            except trio.Cancelled:
                self.request_stop()
                raise
            except BaseException:
                self.cancel_work()
                raise

    @trio.lowlevel.enable_ki_protection
    async def _run_shielded(self, started: Callable[[], None]) -> None:
        with trio.CancelScope(shield=True):
            try:
                self._open_journals()
                await self._lead_and_work(started)
            finally:
                await self.watchdog.stop()
                self.ended.set()
                self._close_journals()

    async def _lead_and_work(self, started: Callable[[], None]) -> None:
        heartbeats = self.heartbeats
        self._journal_started()
        try:
            async with trio.open_nursery() as lease_nursery:
                lease_nursery.start_soon(self.election.run)
                lease_nursery.start_soon(self.ledger.keep_paused_known)
                if heartbeats is not None:
                    lease_nursery.start_soon(heartbeats.run, self._node_state)
                if self.plan.files is not None and self._given.retention_days is not None:
                    retention = Retention(self.plan.files.folder, self._given.retention_days, self._recorder)
                    lease_nursery.start_soon(retention.run)
                await self._work(started)
                lease_nursery.cancel_scope.cancel()
        finally:
            await self.election.release()
            if heartbeats is not None:
                await heartbeats.send("stopped")
            self._recorder.write(FRAMEWORK, "stopped", result="stopped")

    async def _work(self, started: Callable[[], None]) -> None:
        try:
            async with trio.open_nursery() as work_nursery:
                work_nursery.start_soon(self.ticks.serve, self.drain.sync.after_tick)
                work_nursery.start_soon(self.runs.serve, self._keep_schedules, self.drain.sync.after_tick)
                if self._given.autostart:
                    work_nursery.start_soon(self.ticks.keep_interval)
                await wait_any(self._wait_settled, self._stop_begun.wait)
                started()
                await self._stop_begun.wait()
                await self.drain.drain_run()
                work_nursery.cancel_scope.cancel()
        finally:
            # After a drain nothing is left to do here. After an error the lease is still renewed while we wait.
            self.request_stop()
            self.ticks.abandon()
            await self.drain.finish()

    async def _wait_settled(self) -> None:
        await self.election.settled.wait()
        await self.ledger.looked.wait()

    async def _keep_schedules(self) -> None:
        if self._given.autostart:
            await self._scheduler.keep_schedules()

    def _live_scope(self) -> TermScope | None:
        return self.election.live_scope

    def _fingerprint(self) -> str:
        return self._given.jobs.fingerprint

    def _node_state(self) -> NodeState:
        return "standby" if self.election.live_scope is None else "leader"

    def _journal_started(self) -> None:
        plan = self.plan
        details = {
            "host": plan.node.host,
            "incarnation": plan.incarnation,
            "lease_name": self._given.lease_name,
            "node_id": plan.node.node_id,
            "pid": self.pid,
            "version": plan.node.version,
        }
        result = "loop_enabled" if self._given.autostart else "loop_disabled"
        self._recorder.write(FRAMEWORK, "started", result=result, details=details)

    def _open_journals(self) -> None:
        files = self.plan.files
        if files is not None:
            files.open(self._recorder.today())
        self._recorder.attach([each for each in (self._given.journal, files) if each is not None])

    def _close_journals(self) -> None:
        self._recorder.attach(())
        if self.plan.files is not None:
            self.plan.files.close()
