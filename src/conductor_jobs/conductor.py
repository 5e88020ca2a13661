"""`Conductor`: what an application holds. It owns nothing but the current run, which does the work."""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Literal, final

import trio
from trio_util import wait_any

from .arguments import Arguments, observers_of, require
from .clocks import boot_time
from .errors import ConductorStopped
from .failures import sole_exception
from .journal import Journal
from .leaders_work import run_as_leader, run_while_leader
from .leadership import Leadership, Watchable
from .lease import LeaseStore, Node, has_methods
from .observers import Observer, Tracer
from .recorder import Recorder
from .registry import TimedJobs
from .runner_status import RunnerStatus
from .runners import TickTrigger
from .signals import run_until_signalled
from .status import ConductorStatus, runner_statuses_of, status_of
from .supervisor import Supervisor
from .taken_leases import taking
from .term import Term
from .tick_results import TickResult
from .ticks import result_of
from .timing import LeaseTiming
from .watchdog import OnOverrun


@final
class Conductor:
    """Runs the registered runners in ticks while this node leads, and stands by while another one does."""

    def __init__(
        self,
        jobs: TimedJobs,
        *,
        store: LeaseStore,
        lease_name: str = "conductor",
        node: Node | None = None,
        timing: LeaseTiming | None = None,
        journal: Journal | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        journal_sync: Literal["tick"] | None = None,
        retention_days: int | None = None,
        resources: Any = None,
        autostart: bool = True,
        drain_timeout: float = 20.0,
        renew_failure_threshold: int = 2,
        on_overrun: OnOverrun = "report",
        tracer: Tracer | None = None,
        wall_clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boot_time,
    ) -> None:
        """Describe a conductor; nothing is started or touched before `run`.

        `store` keeps the lease `lease_name`, and is not closed by the conductor. `node`: who we are, by default
        this host and process. `timing`: see `LeaseTiming`, a ttl of 30 seconds by default. `journal` takes every
        entry; `log_dir` is a folder for journal files; both may be given, or neither. `journal_sync="tick"` has
        the disk confirm the files after each tick. `retention_days`: journal files of more days ago are deleted, when
        a run begins and when a day begins; None keeps them all. `resources` is handed to every runner untouched.
        Without `autostart` there are no interval ticks. `drain_timeout`: seconds for which a stop waits for the work.
        `renew_failure_threshold`: how many failed store calls in a row count as degraded. `on_overrun`: what is done
        about work that is still at work a tenth of a second after its lease has run out: "report" tells stderr, the
        journal and `status()`; "exit" tells, for a second at the most, and ends the process at once, with exit code
        70, nothing of it being cleaned up. `tracer`, an `opentelemetry.trace.Tracer`, is given a span of each tick and
        runner (extra `traces`). `wall_clock` returns unix seconds for the journal; `boot_clock` returns
        seconds on a clock that goes on during suspend; one of your own is for tests, and work is not watched then.

        Raises ValueError or TypeError, naming the argument.
        """
        self._arguments = Arguments(
            jobs=jobs,
            store=store,
            lease_name=lease_name,
            node=node,
            timing=LeaseTiming() if timing is None else timing,
            journal=journal,
            log_dir=log_dir,
            journal_sync=journal_sync,
            retention_days=retention_days,
            resources=resources,
            autostart=autostart,
            drain_timeout=drain_timeout,
            renew_failure_threshold=renew_failure_threshold,
            on_overrun=on_overrun,
            wall_clock=wall_clock,
            boot_clock=boot_clock,
        )
        self.jobs: TimedJobs = jobs
        self._recorder = Recorder(wall_clock)
        self._observers = observers_of(tracer)
        self._leadership = Leadership()
        self._supervisor: Supervisor | None = None

    @property
    def leadership(self) -> Watchable[Term | None]:
        """The term while this node leads, else None, as trio-util's AsyncValue; for reading and waiting only.

        A predicate that raises is reported on stderr, and may keep others who wait here from a change.
        """
        return self._leadership.published

    @property
    def store(self) -> LeaseStore:
        """The store that keeps the lease."""
        return self._arguments.store

    @property
    def lease_name(self) -> str:
        """The name of the lease."""
        return self._arguments.lease_name

    @property
    def timing(self) -> LeaseTiming:
        """The seconds by which the lease is held."""
        return self._arguments.timing

    @property
    def started(self) -> bool:
        """Whether `run` is running."""
        return self._current() is not None

    @trio.lowlevel.enable_ki_protection
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Campaign, lead and tick until stopped; under `nursery.start`, returns once standing by or leading.

        That is after the store's first answer, or once that is overdue: a store that cannot be reached makes
        a degraded standby, which keeps trying. May be run again after it has returned.

        Raises Unusable for a log folder or a lease store that can never work (for schedules it has to keep claims),
        ValueError when another conductor of this process has the same store and `lease_name`, RuntimeError when this
        one runs already.
        Cancelling drains the tick in flight, within `drain_timeout`, releases the lease, and then goes on.
        In the main task, a KeyboardInterrupt cancels the work, releases the lease and goes on. In any other task it
        arrives as a cancellation, which drains; use `run_until_signalled` where Ctrl-C should be obeyed twice.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.started:
            raise RuntimeError("this conductor is running already")
        plan = self._arguments.plan(self._observers)
        failure: BaseException | None = None
        try:
            with taking(self.store, self.lease_name):
                self._supervisor = Supervisor(plan, self._recorder, self._leadership)
                self._leadership.enter("starting")
                await self._supervisor.run(lambda: self._now_running(task_status))
        except BaseExceptionGroup as group:
            failure = sole_exception(group)
        finally:
            self._leadership.term = None
            self._leadership.enter("ended")
        # Raised out here, where it gets no nurseries' groups for a context.
        if failure is not None:
            raise failure

    async def run_until_signalled(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run as `run` does until SIGTERM or SIGINT, which drains; a second one cancels the work at once.

        Raises what `run` raises; KeyboardInterrupt after a second signal; RuntimeError outside of the main thread.
        Work that even the second signal cannot end, such as a runner's thread, is given the seconds of
        `LeaseTiming`'s margin and of two store calls; then the process ends with exit code 130, and the lease
        expires by itself. One conductor of a process at a time: RuntimeError for a second.
        """
        await run_until_signalled(
            lambda: self.run(task_status=task_status),
            self.request_stop,
            self.cancel_work,
            self.patience,
        )

    @property
    def patience(self) -> float:
        """Seconds in which a run ends once its work is cancelled; see `LeaseTiming.patience`."""
        return self.timing.patience

    async def run_tick(self, trigger: TickTrigger = "manual") -> TickResult:
        """Have a tick of the runners without a schedule now, or hear why not, and wait for its end.

        `trigger` is what the journal says of who asked.

        Cancelling stops the waiting; the tick belongs to the conductor and goes on. Raises RuntimeError when the
        conductor does not run, ValueError for an unknown trigger, ConductorStopped when the conductor fails
        before the tick has ended.
        """
        if trigger not in ("interval", "manual", "schedule"):
            raise ValueError(f"run_tick trigger must be 'interval', 'manual' or 'schedule', not {trigger!r}.")
        return await result_of(self._require_running().ticks.request(trigger))

    async def run_now(self, name: str) -> TickResult:
        """Have one runner run now, paused or not, or hear why not, and wait for its end.

        It runs in a tick of its group: with a schedule it is one of its own, without one it is the group of all such
        runners. No due instant is taken by it. Cancelling stops the waiting; the run goes on. Raises ValueError
        for a name that is not registered, RuntimeError when the conductor does not run, ConductorStopped when
        the conductor fails before the run has ended.
        """
        supervisor, runner = self._require_running(), self.jobs.named(name)
        return await result_of(supervisor.request_run(runner))

    async def pause(self, name: str) -> None:
        """Pause a runner, on every node and until `resume`, whoever leads and whatever restarts.

        Kept in the store. A run in flight goes on. With a schedule, nothing that is due from then on is run; without
        one, another node that leads notices within its heartbeat interval. Due instants of a paused runner are skipped
        for good, each a line in the journal.

        Raises ValueError for a name that is not registered, RuntimeError when the conductor does not run or its store
        keeps no pauses, TimeoutError when the store gives no answer within the timing's `store_timeout`, and what the
        store raises. After a TimeoutError, an error of the store's, or a cancellation, nobody knows whether the
        pause is kept: ask again, which changes nothing where it is.
        """
        await self._require_running().ledger.set_paused(self.jobs.named(name).name, True)

    async def resume(self, name: str) -> None:
        """Undo `pause`: what is due from now on is run. It raises what `pause` raises, and is cancelled like it."""
        await self._require_running().ledger.set_paused(self.jobs.named(name).name, False)

    def request_stop(self) -> None:
        """Begin to stop: no new tick, then the drain. Synchronous and idempotent; nothing when not running.

        Safe in a runner, in a signal handler and from any thread.
        """
        if (supervisor := self._current()) is not None:
            supervisor.request_stop()

    async def stop(self) -> None:
        """Request a stop and wait until `run` has ended. Cancelling stops the waiting only.

        Raises RuntimeError in leader's work, which would wait for itself: use `request_stop` there.
        """
        supervisor = self._current()
        if supervisor is not None and supervisor.is_in_work(trio.lowlevel.current_task()):
            raise RuntimeError("stop() in leader's work would wait for itself: use request_stop()")
        self.request_stop()
        # Also of a run that has nothing left to do but to return: only then may the next one begin.
        await self._leadership.wait_over()

    def cancel_work(self) -> None:
        """Stop without a drain: leader's work is cancelled at once. On the loop's thread; nothing when not running."""
        if (supervisor := self._current()) is not None:
            supervisor.cancel_work()

    async def wait_leader(self) -> Term:
        """Wait until this node leads and return its term. Cancelling stops the waiting only.

        Raises ConductorStopped when `run` has ended, or ends first.
        """
        return await self._leadership.wait_leader()

    async def wait_standby(self) -> None:
        """Wait until this node runs and does not lead. Cancelling stops the waiting only.

        Raises ConductorStopped when `run` has ended, or ends first.
        """
        await self._leadership.wait_standby()

    async def run_as_leader(
        self, work: Callable[[Term], Awaitable[object]]
    ) -> Literal["scheduled", "skipped_not_leader"]:
        """Await `work(term)` if this node leads, in the caller's task, in a scope that ends with the term.

        A stop drains it like a tick. Its exceptions come out as they are; LeaseLost is raised when the end of the
        term cancelled it. Raises RuntimeError when the conductor does not run. Cancelling cancels the work.
        """
        return await run_as_leader(self._require_running().live_scope, work)

    async def run_while_leader(self, work: Callable[[Term], Awaitable[object]]) -> None:
        """Run a leader-only service: `work(term)` in every term of this node, until the conductor stops.

        The work is cancelled when its term ends or a stop begins; when it returns by itself the next term calls it
        again. Its exceptions come out as they are. Raises RuntimeError when the conductor does not run.
        Cancelling cancels the work.
        """
        supervisor = self._require_running()
        await run_while_leader(self._leadership, lambda: supervisor.live_scope, work)

    def observed_by(self, observer: Observer) -> AbstractContextManager[None]:
        """Return a context manager: while it is entered, `observer` is told of the ticks that begin, and their runners.

        Before or while the conductor runs, from any thread. Raises TypeError for what is no `Observer`.
        """
        is_observer = has_methods(observer, "tick_refused", "tick_started")
        require(is_observer, "observer must have tick_refused and tick_started", observer, TypeError)
        return self._observers.attached(observer)

    def journaling_to(self, journal: Journal) -> AbstractContextManager[None]:
        """Have one more journal take every entry while the block lasts, before a run, during it, and from run to run.

        From any thread. A tick that is at work when the block is entered may leave its runners' starts and ends out.
        Raises TypeError for what is no `Journal`.
        """
        require(isinstance(journal, Journal), "journaling_to journal must have add and flush", journal, TypeError)
        return self._recorder.writing_to(journal)

    async def resign(self) -> Literal["resigned", "skipped_not_leader"]:
        """Give the lease back with the work drained, as a stop does, and go on as a standby; wait until that is done.

        The node campaigns again a second and a half later: without another node it leads again then. Cancelling stops
        the waiting; the resignation goes on. Raises RuntimeError when the conductor does not run, and in leader's
        work, which would wait for itself; ConductorStopped when the run ends first.
        """
        supervisor = self._require_running()
        if supervisor.is_in_work(trio.lowlevel.current_task()):
            raise RuntimeError("resign() in leader's work would wait for itself")
        if supervisor.stopping or (over := supervisor.election.resign(supervisor.drain.drain_term)) is None:
            await trio.lowlevel.checkpoint()
            return "skipped_not_leader"
        await wait_any(over.wait, self._leadership.wait_over)
        if not over.is_set():
            raise ConductorStopped("the conductor's run has ended")
        return "resigned"

    def runner_statuses(self, names: Iterable[str] | None = None) -> tuple[RunnerStatus, ...]:
        """Return how things stand with each runner, in the order of their registration; on the loop's thread.

        Given `names`, of these runners alone: when a cron expression is due next takes a third of a millisecond to find
        out. Claims are as this node knows them: up to date while it leads, otherwise as of `refresh`. Raises ValueError
        for a name that is not registered.
        """
        self._current()
        runners = self.jobs.registered if names is None else map(self.jobs.named, names)
        return runner_statuses_of(self._supervisor, runners, self._recorder.now())

    async def refresh(self) -> None:
        """Read from the store what other nodes have claimed and paused, for `runner_statuses`.

        Raises RuntimeError when the conductor does not run, TimeoutError when the store gives no answer within the
        timing's `store_timeout`, and what the store raises. Cancelling leaves it be.
        """
        await self._require_running().ledger.read()

    def status(self) -> ConductorStatus:
        """Return how things stand; from any thread, running or not."""
        self._current()
        node = self._arguments.node or Node()
        return status_of(self._supervisor, node, self.jobs.runner_names, self._arguments.renew_failure_threshold)

    def _now_running(self, task_status: trio.TaskStatus[None]) -> None:
        self._leadership.enter("running")
        task_status.started()

    def _current(self) -> Supervisor | None:
        supervisor = self._supervisor
        if supervisor is None or supervisor.ended.is_set():
            return None
        if supervisor.pid != os.getpid():
            raise RuntimeError(
                "this process was forked from the one that runs the conductor, whose loop does not exist here: "
                "construct and run a conductor after the fork"
            )
        return supervisor

    def _require_running(self) -> Supervisor:
        if (supervisor := self._current()) is None:
            raise RuntimeError("the conductor is not running: start it with `await nursery.start(conductor.run)`")
        return supervisor
