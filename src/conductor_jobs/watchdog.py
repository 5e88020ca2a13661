"""The watchdog: an OS thread that reports leader's work still at work when the store no longer honours its lease.

    asleep until the lease runs out ──work is left──> grace ──still left──> the loop is asked where it is ──> report
       ^           │ renewed                            │ ended
       └───────────┴────────────────────────────────────┘

While all is well it wakes about once a ttl, to find that the lease was renewed; as a standby never. It is a
thread because what it reports may be a loop that does not turn; that is also why it sleeps on the clock by itself
and is told of no renewal.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Literal, final

import msgspec
import trio

from .clocks import Clocks
from .journal import LEASE
from .recorder import Recorder
from .stacks import Finding, blocking, in_threads, waiting
from .stderr import tell
from .term import TermScope, Work

OnOverrun = Literal["report", "exit"]
# EX_SOFTWARE of sysexits.h.
EXIT_OVERRUN = 70

# In steps, of which a process that is frozen in the middle of it loses one.
_GRACE_STEPS = 10
_GRACE_STEP = 0.01
# Once there was a report: for work of the same term that may follow the loop's block.
_NEXT_LOOK = 1.0
# What a terminal or a disk that hangs may cost the end of a process, or of a run.
_PATIENCE = 1.0


@final
class Overrun(msgspec.Struct, frozen=True):
    """Leader's work that is still at work though the store does not honour its lease any more.

    `work` names it: a runner, or what `run_as_leader` or `run_while_leader` was given. `term` is the number of its
    term, `seconds` for how long the lease has run out. `loop_blocked`: the loop did not turn when this was found.
    `stack` is where the work was then, outermost call first, each as `file:line in function: code`.
    """

    work: str
    term: int
    seconds: float
    loop_blocked: bool
    stack: tuple[str, ...]


@final
class Watchdog:
    """Watches the terms of one run; made on the loop. `watch` starts the thread, `stop` ends it."""

    def __init__(self, clocks: Clocks, recorder: Recorder, on_overrun: OnOverrun) -> None:
        self._recorder = recorder
        self._on_overrun: OnOverrun = on_overrun
        self._token = trio.lowlevel.current_trio_token()
        self._loop_thread = threading.get_ident()
        # A thread sleeps in real time. In virtual time, where hours pass in a moment and a simulation has many
        # conductors and one course of events, it could only be late or do harm: there is none. Nor is there one
        # beside a boot clock that a test controls, which need not bear to be read from a thread.
        self._of_use = clocks.keep_real_time()
        self._thread: threading.Thread | None = None
        self._ended = trio.Event()
        # Set when there is something new to look at: a term, or that it is time to end.
        self._stir = threading.Event()
        self._stopped = False
        self._scope: TermScope | None = None
        self._reported: dict[Work, Overrun] = {}
        #: How many pieces of work were reported in this run.
        self.overrun_count: int = 0

    def watch(self, scope: TermScope) -> None:
        """Watch this term from now on. No work of the one before it is left."""
        if not self._of_use:
            return
        self._reported = {}
        self._scope = scope
        self._stir.set()
        if self._thread is None:
            # A daemon: one that a disk or terminal holds up never keeps the process from ending.
            self._thread = threading.Thread(target=self._run, name="conductor-jobs watchdog", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """End the thread and wait for it, a second at the most; call it once no work is left."""
        self._stopped = True
        self._stir.set()
        if self._thread is not None:
            with trio.move_on_after(_PATIENCE):
                await self._ended.wait()
                self._thread.join()

    @property
    def overruns(self) -> tuple[Overrun, ...]:
        """What was reported and is still at work; from any thread."""
        scope, reported = self._scope, self._reported
        if scope is None or not reported:
            return ()
        seconds = scope.overrun()
        found = (reported.get(work) for work in scope.works)
        return tuple(msgspec.structs.replace(each, seconds=seconds) for each in found if each is not None)

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._stir.wait(self._look())
                self._stir.clear()
        finally:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ended.set)

    def _look(self) -> float | None:
        """Return the seconds after which to look again, None for not before the next term."""
        scope = self._scope
        if scope is None:
            return None
        if (remaining := scope.honoured_for()) > 0:
            return min(remaining, threading.TIMEOUT_MAX)
        # A lease that has run out is never renewed (I1), and no work begins under it.
        if scope.is_idle:
            return None
        # A process that thaws finds that its lease has run out before its loop could cancel anything.
        if self._unreported(scope) and not self._within_grace(lambda: scope.is_idle):
            self._examine(scope)
        return _NEXT_LOOK

    def _unreported(self, scope: TermScope) -> list[Work]:
        return [work for work in scope.works if work not in self._reported]

    def _within_grace(self, condition: Callable[[], bool]) -> bool:
        for _ in range(_GRACE_STEPS):
            if condition():
                return True
            self._stir.wait(_GRACE_STEP)
        return condition()

    def _examine(self, scope: TermScope) -> None:
        on_loop = self._ask_loop(scope)
        blocked = on_loop is None
        if on_loop is None:
            on_loop = blocking(scope.works, self._loop_thread)
        fresh = self._unreported(scope)
        found = [each for each in [*in_threads(fresh), *on_loop] if each.work in fresh]
        if found and self._on_overrun == "exit":
            self._end_process(scope, found, loop_blocked=blocked)
        self._report(scope, found, loop_blocked=blocked)

    def _ask_loop(self, scope: TermScope) -> list[Finding] | None:
        """Have the loop tell where the work is that has not ended; None when it gives no answer: it is blocked."""
        answers: list[list[Finding]] = []
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(lambda: answers.append(waiting(scope.works)))
        return answers[0] if self._within_grace(lambda: bool(answers)) else None

    def _report(self, scope: TermScope, found: list[Finding], *, loop_blocked: bool) -> None:
        # The journal last: its lock may be held by the loop, which a disk that hangs has blocked.
        told = [_overrun(each, scope, loop_blocked=loop_blocked) for each in found]
        self._reported |= {each.work: overrun for each, overrun in zip(found, told, strict=True)}
        self.overrun_count += len(told)
        for overrun in told:
            tell(_sentence(overrun, scope))
        if self._on_overrun == "exit":
            tell(f"conductor-jobs: ending with exit code {EXIT_OVERRUN}")
        for overrun in told:
            self._journal(overrun, scope)

    def _end_process(self, scope: TermScope, found: list[Finding], *, loop_blocked: bool) -> None:
        # In a thread of its own, since stderr and the journal may hang: then the process ends all the same.
        report = partial(self._report, scope, found, loop_blocked=loop_blocked)
        reporter = threading.Thread(target=report, name="conductor-jobs last words", daemon=True)
        try:
            reporter.start()
            reporter.join(_PATIENCE)
        finally:
            os._exit(EXIT_OVERRUN)

    def _journal(self, overrun: Overrun, scope: TermScope) -> None:
        details = {
            "lease_name": scope.term.lease_name,
            "holder_id": scope.term.holder.node_id,
            "term": overrun.term,
            "work": overrun.work,
            "overrun_ms": round(overrun.seconds * 1000),
            "loop_blocked": overrun.loop_blocked,
            "stack": overrun.stack,
        }
        self._recorder.write(LEASE, "term_overrun", result="running", details=details)


def _overrun(finding: Finding, scope: TermScope, *, loop_blocked: bool) -> Overrun:
    stack = tuple(finding.lines())
    return Overrun(finding.work.doing.label, scope.term.number, scope.overrun(), loop_blocked, stack)


def _sentence(overrun: Overrun, scope: TermScope) -> str:
    blocked = ", and the loop is blocked" if overrun.loop_blocked else ""
    head = (
        f"conductor-jobs: {overrun.work} is still at work {overrun.seconds:.1f} s after term {overrun.term} of lease "
        f"{scope.term.lease_name!r} has run out{blocked}:"
    )
    return "\n    ".join([head, *overrun.stack])
