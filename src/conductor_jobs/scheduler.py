"""The schedule task: when the runners that have a schedule are run, and what becomes of due instants that are not.

    a term begins ──> claims are read ──> the agenda is made: what was due since then comes first
                                             │
      ┌── waits for the next start, a second at the most (the wall clock may be set meanwhile) <──┐
      └── what is due: misfires are judged, instants claimed in the store, runs begun ────────────┘

A run is begun only after the store has confirmed its claim (I19). What is done with a claim in hand is work of the term
like any tick: a stop drains it, the end of the term ends it. Only waiting and reading are cut short by a stop.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar, final

import trio

from .agenda import Agenda, Due
from .errors import ConductorStopped, LeaseLost
from .leadership import Leadership
from .ledger import Ledger
from .misfires import Turn, turn_of
from .recorder import Recorder
from .registry import TimedJobs
from .runner_records import Claim, ClaimResult
from .runners import Runner
from .schedule_entries import ScheduleEntries
from .single_runs import SingleRuns
from .term import Named, Term, TermScope

T = TypeVar("T")
#: For how many seconds a wall clock that was set, or a suspend, may go unnoticed.
LOOK_AGAIN: Final = 1.0
# So many runners are judged and claimed at once; in between, the loop goes on.
_AT_ONCE: Final = 50
_AHEAD: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_WORK: Final = Named("schedules")
_ASKING: Final = Named("schedules, asking the store")


@final
class Scheduler:
    """Begins the runs of one conductor's run; `keep_schedules` is the schedule task."""

    def __init__(
        self,
        jobs: TimedJobs,
        runs: SingleRuns,
        ledger: Ledger,
        recorder: Recorder,
        leadership: Leadership,
        live_scope: Callable[[], TermScope | None],
        stopping: Callable[[], bool],
    ) -> None:
        self._jobs = jobs
        self._runs = runs
        self._ledger = ledger
        self._recorder = recorder
        self._leadership = leadership
        self._live_scope = live_scope
        self._stopping = stopping
        self._changed = trio.Event()
        self._agenda = Agenda()
        # Of the runners that are at work, the first instant that is due again.
        self._held: dict[str, datetime] = {}
        self._entries = ScheduleEntries(recorder)
        runs.on_end = self._run_ended

    @trio.lowlevel.enable_ki_protection
    async def keep_schedules(self) -> None:
        """Begin what is due, in every term of this node, until the stop. Cancelling ends it."""
        term: Term | None = None
        with self._jobs.telling(trio.lowlevel.current_trio_token(), self._look_soon):
            while not self._stopping():
                try:
                    term = await self._leadership.wait_leader(after=term)
                except ConductorStopped:
                    return
                scope = self._live_scope()
                if scope is not None and scope.term is term:
                    # The term may end while the store is asked, before its scope has cancelled the question.
                    with contextlib.suppress(LeaseLost):
                        await self._lead(scope)

    async def _lead(self, scope: TermScope) -> None:
        self._agenda, self._held, self._entries = Agenda(), {}, ScheduleEntries(self._recorder)
        claims_known = False
        while scope.admits:
            self._changed = trio.Event()
            if self._jobs.scheduled and self._may_keep_schedules():
                with self._runs.occupied(), scope.work(_WORK):
                    if not claims_known:
                        await self._ask(self._ledger.read_claims, scope)
                        claims_known = True
                    await self._take_up_new(scope)
                    await self._begin_due(scope)
            # In one step with the opening of the service, or the stop would not know of it.
            if not self._may_begin(scope):
                return
            with scope.work(_WORK, service=True):
                await self._wait()

    async def _wait(self) -> None:
        # Nothing that a schedule says can come sooner than the wall clock is looked at again.
        seconds = LOOK_AGAIN if len(self._agenda) else math.inf
        if (start := self._agenda.next_start) is not None:
            seconds = min(seconds, (start - self._recorder.now()).total_seconds())
        with trio.move_on_after(max(0.0, seconds)):
            await self._changed.wait()

    async def _ask(self, read: Callable[[Term], Awaitable[T]], scope: TermScope) -> T | None:
        """Return what the store keeps, or None when a stop or the end of the term came first."""
        # As a service, which a stop ends at once: nothing is in hand while the store is only read. A claim is another
        # matter, since it may be kept without an answer.
        if self._may_begin(scope):
            with scope.work(_ASKING, service=True):
                return await read(scope.term)
        return None

    def _may_begin(self, scope: TermScope) -> bool:
        # What was claimed by the time of a stop is run; what was about to be claimed is left to the next leader.
        return scope.admits and not self._stopping()

    def _may_keep_schedules(self) -> bool:
        if self._ledger.keeps_claims:
            return True
        self._entries.not_kept(self._jobs.scheduled)
        return False

    async def _take_up_new(self, scope: TermScope) -> None:
        scheduled = self._jobs.scheduled
        if len(scheduled) == len(self._agenda):
            return
        new = [runner for runner in scheduled if runner.name not in self._agenda]
        for start in range(0, len(new), _AT_ONCE):
            if not self._may_begin(scope):
                return
            await self._take_up(new[start : start + _AT_ONCE], scope)
            await trio.lowlevel.checkpoint()

    async def _take_up(self, runners: Sequence[Runner], scope: TermScope) -> None:
        """Put runners on the agenda, from the last instant on that was taken of each."""
        now, number = self._recorder.now(), scope.term.number
        # Also what is to be run again is not run while it is paused: that is how a person ends a row of crashes.
        may_run_again = self._may_run_again(runners)
        paused = await self._ask(self._ledger.read_paused, scope) if may_run_again else frozenset[str]()
        if paused is None or not self._may_begin(scope):
            return
        to_claim: list[Claim] = []
        to_run: dict[str, Runner] = {}
        for runner in runners:
            assert runner.schedule is not None
            last = self._ledger.claims.get(runner.name)
            if last is None:
                # So that the next leader knows since when instants may have been missed.
                last = Claim(runner.name, now, number, "registered")
                to_claim.append(last)
            elif last.result is None:
                self._entries.unknown(runner, last)
                rerun = runner.on_crash == "rerun" and runner.name not in paused
                to_claim.append(Claim(runner.name, last.due_at, number, None if rerun else "unknown"))
                if rerun:
                    to_run[runner.name] = runner
            elif last.due_at > now + _AHEAD:
                self._entries.ahead(last)
            self._agenda.put(runner.name, runner.schedule, last.due_at)
        for claim in await self._ledger.claim(scope.term, to_claim):
            if claim.runner in to_run:
                self._runs.begin(to_run[claim.runner], claim, scope)

    def _may_run_again(self, runners: Sequence[Runner]) -> bool:
        claims = self._ledger.claims
        return any(
            runner.on_crash == "rerun" and runner.name in claims and claims[runner.name].result is None
            for runner in runners
        )

    async def _begin_due(self, scope: TermScope) -> None:
        while self._may_begin(scope):
            now = self._recorder.now()
            taken = self._agenda.take_due(now, _AT_ONCE)
            if not taken:
                return
            if due := [each for each in taken if not self._hold(each)]:
                await self._begin(due, scope)
            await trio.lowlevel.checkpoint()

    def _hold(self, due: Due) -> bool:
        """Return whether what is due has to wait, since the runner is at work."""
        if not self._runs.is_at_work(due.name):
            return False
        self._held.setdefault(due.name, due.first)
        return True

    async def _begin(self, due: Sequence[Due], scope: TermScope) -> None:
        paused = await self._ask(self._ledger.read_paused, scope)
        if paused is None or not self._may_begin(scope):
            return
        # Judged after the store has answered, which may have taken long.
        now = self._recorder.now()
        turns: dict[str, tuple[Due, Turn]] = {}
        claims: list[Claim] = []
        for each in due:
            runner = self._jobs.named(each.name)
            turn = turn_of(each, runner.misfire, now, paused=each.name in paused)
            turns[each.name] = each, turn
            result: ClaimResult | None
            result = None if turn.due_at is not None else "paused" if turn.reason == "paused" else "skipped"
            claims.append(Claim(each.name, turn.taken_until, scope.term.number, result))
            if turn.reason is not None:
                # Before it is claimed: whoever comes after us learns of the last instant only. It may be told twice.
                self._entries.missed(runner, each, turn)
                # What a long absence left takes a while to count.
                await trio.lowlevel.checkpoint()
        if not self._may_begin(scope):
            return
        kept = {claim.runner: claim for claim in await self._ledger.claim(scope.term, claims)}
        for name, (each, turn) in turns.items():
            self._carry_out(each, turn, kept.get(name), scope)

    def _carry_out(self, due: Due, turn: Turn, claim: Claim | None, scope: TermScope) -> None:
        if claim is None:
            self._entries.claimed_before(due, turn)
        elif turn.due_at is not None:
            self._runs.begin(self._jobs.named(due.name), claim, scope)
            if turn.taken_until < due.last:
                self._held[due.name] = turn.taken_until + _MICROSECOND

    def _run_ended(self, name: str) -> None:
        runner, due_at = self._jobs.named(name), self._held.pop(name, None)
        if due_at is not None and runner.schedule is not None:
            self._agenda.put(name, runner.schedule, due_at - _MICROSECOND)
            self._look_soon()

    def _look_soon(self) -> None:
        self._changed.set()
