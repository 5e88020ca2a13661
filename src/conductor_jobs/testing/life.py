"""One incarnation of a simulated node: its conductor, its way to the store, its journal, runners that misbehave."""

import functools
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar, final

import msgspec
import trio
from trio.testing import MockClock

from ..conductor import Conductor
from ..failures import error_text
from ..journal import JournalEntry
from ..lease import LeaseStore, Node
from ..registry import TimedJobs
from ..runner_records import keeps_claims
from ..runners import TickContext
from ..term import Term
from .effects import LoopTurns
from .fakes import MockWallClock
from .faulty_store import FaultyLeaseStore, StoreCall, StoreFault
from .history import Acted, Began, Blocked, Ended, Event, History, Journaled, LifeEvent
from .scenario import Fault, Scenario
from .scheduled_work import SCHEDULED, ScheduledWork
from .witnesses import EngineSide, StoreSide

E = TypeVar("E", bound=Event)

LEASE_NAME = "simulated"
STEP = 1.0  # from one effect of a runner to its next
TIMEOUT = 5.0  # of the runner that has one
PATIENT_STEPS = 60  # of a runner that waits to be cancelled
LONG_STEPS = 25  # of a runner that works longer than most drains


@final
class World(msgspec.Struct, frozen=True):
    """What all lives of a simulation share."""

    scenario: Scenario
    store: LeaseStore
    clock_rate: float
    history: History
    clock: MockClock
    wall_clock: MockWallClock
    turns: LoopTurns
    misdeeds: deque[Fault]

    def note(self, kind: Callable[..., E], life: str, *facts: Any) -> None:
        """Add an event to the history, at this moment."""
        self.history.events.append(kind(trio.current_time(), life, *facts))


@final
class Life:
    """From a start to a stop or a crash; `gone` is set then, though late writes may still be under way."""

    def __init__(self, world: World, name: str, node: Node, befalls: Callable[[StoreCall], StoreFault | None]) -> None:
        scenario = world.scenario
        self.name = name
        self.gone: trio.Event = trio.Event()
        self._world = world
        self._crashed = False
        self.store: FaultyLeaseStore = FaultyLeaseStore(
            StoreSide(functools.partial(_noted, world, name), world.store),
            clock_rate=world.clock_rate,
            watching=bool(scenario.watching),
        )
        self.store.fault = befalls
        self._outside = trio.CancelScope()
        self._added: list[JournalEntry] = []
        jobs = TimedJobs(interval=scenario.interval)
        jobs.register_runner("steady", self._steady)
        jobs.register_runner("eager", self._eager)
        jobs.register_runner("limited", self._limited, timeout=TIMEOUT)
        if keeps_claims(world.store):
            for work in SCHEDULED.values():
                self._register(jobs, work)
        self.conductor: Conductor = Conductor(
            jobs,
            store=EngineSide(self.note, self.store),
            lease_name=LEASE_NAME,
            node=node,
            timing=scenario.timing,
            journal=self,
            drain_timeout=scenario.drain_timeout,
            wall_clock=world.wall_clock,
            boot_clock=trio.current_time,
        )

    async def run(self) -> None:
        """Live until stopped, cancelled or crashed, and then until the last late write has arrived."""
        self.note(LifeEvent, "started")
        async with self.store:
            try:
                await self._conduct()
            except Exception as error:  # noqa: BLE001 - whatever rises out of `run` is for the checker
                self.note(LifeEvent, "failed", f"{type(error).__name__}: {error_text(error)}")
            else:
                self.note(LifeEvent, "ended")
            self.gone.set()
            await trio.sleep(2 * self._world.scenario.timing.ttl)

    async def _conduct(self) -> None:
        with self._outside:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.conductor.run)
                if self.conductor.started:
                    nursery.start_soon(self.conductor.run_while_leader, self._serve)

    @property
    def leads(self) -> bool:
        """Whether it leads now."""
        return self.conductor.leadership.value is not None and not self._crashed

    def note_resignation(self) -> None:
        """Note that it is about to be told to resign, which concerns leaders only."""
        if self.leads:
            self.note(LifeEvent, "resigns")

    def request_stop(self) -> None:
        """Ask for a stop."""
        self.note(LifeEvent, "stop requested")
        self._end_by(self.conductor.request_stop)

    def cancel(self) -> None:
        """Cancel from outside, which is a stop too."""
        self.note(LifeEvent, "stop requested")
        self._outside.cancel()

    def crash(self) -> None:
        """Let nothing of this life reach anybody any more, but for writes that are under way, and end what is left."""
        self.note(LifeEvent, "crashed")
        self._crashed = True
        self.store.fault = StoreFault(error=ConnectionError("crashed"))
        self.store.reset()
        self._end_by(self.conductor.cancel_work)
        self.gone.set()

    def _end_by(self, end: Callable[[], None]) -> None:
        # A conductor that does not run yet hears nothing of it: then it is not to begin.
        if self.conductor.started:
            end()
        else:
            self._outside.cancel()

    def note(self, kind: Callable[..., E], *facts: Any) -> None:
        """Add an event of this life to the history, unless it has crashed."""
        if not self._crashed:
            self._world.note(kind, self.name, *facts)

    def add(self, entry: JournalEntry) -> None:
        """See `Journal.add`."""
        # What is drawn anew in every process would keep a seed from telling the same story twice.
        drawn = {"incarnation": self.name, "pid": 0}
        details = {name: drawn.get(name, value) for name, value in entry.details.items()}
        self._added.append(msgspec.structs.replace(entry, details=details))

    def flush(self) -> None:
        """See `Journal.flush`."""
        added, self._added = self._added, []
        for entry in added:
            self.note(Journaled, entry)

    async def _steady(self, ctx: TickContext) -> None:
        with self._at_work("steady", ctx.term):
            misdeeds = self._world.misdeeds
            if misdeeds and misdeeds[0].kind != "times out" and not self._crashed:
                await self._misbehave(ctx, misdeeds.popleft())
            else:
                await self._work("steady", ctx.term, 3)

    async def _eager(self, ctx: TickContext) -> None:
        with self._at_work("eager", ctx.term):
            self._act("eager", ctx.term)

    async def _limited(self, ctx: TickContext) -> None:
        with self._at_work("limited", ctx.term):
            misdeeds = self._world.misdeeds
            if misdeeds and misdeeds[0].kind == "times out" and not self._crashed:
                misdeeds.popleft()
                await self._work("limited", ctx.term, PATIENT_STEPS)
            self._act("limited", ctx.term)

    def _register(self, jobs: TimedJobs, work: ScheduledWork) -> None:
        async def run(ctx: TickContext) -> None:
            with self._at_work(work.name, ctx.term, ctx.due_at):
                self._act(work.name, ctx.term)
                if seconds := work.length(ctx.due_at):
                    await trio.sleep(seconds)
                    self._act(work.name, ctx.term)

        jobs.register_runner(work.name, run, schedule=work.schedule, misfire=work.misfire, on_crash=work.on_crash)

    async def _serve(self, term: Term) -> None:
        while True:
            await self._work("service", term.number, PATIENT_STEPS)

    async def _misbehave(self, ctx: TickContext, fault: Fault) -> None:
        match fault.kind:
            case "blocks":
                self._act("steady", ctx.term)
                self._world.clock.jump(fault.seconds)
                self._world.note(Blocked, self.name, fault.seconds)
                self._act("steady", ctx.term)
                if fault.seed % 2:  # otherwise the next runner's start comes before the loop turns
                    await trio.lowlevel.checkpoint()
                    self._act("steady", ctx.term)
            case "clings" | "overstays":
                await self._cling(ctx, fault.seconds)
            case "raises":
                await self._work("steady", ctx.term, 2)
                raise ExceptionGroup("of the simulation", [ValueError("a runner's own"), OSError("and another")])
            case "stops":
                self.request_stop()
                await self._work("steady", ctx.term, 3)
            case _:
                await self._work("steady", ctx.term, LONG_STEPS)

    async def _cling(self, ctx: TickContext, seconds: float) -> None:
        try:
            await self._work("steady", ctx.term, PATIENT_STEPS)
        except trio.Cancelled:
            until = trio.current_time() + seconds
            with trio.CancelScope(shield=True):
                while (rest := until - trio.current_time()) > 0:
                    self._act("steady", ctx.term, cleanup=True)
                    await trio.sleep(min(STEP, rest))
            raise

    async def _work(self, runner: str, term: int, steps: int) -> None:
        for _ in range(steps):
            self._act(runner, term)
            await trio.sleep(STEP)

    def _act(self, runner: str, term: int, *, cleanup: bool = False) -> None:
        self.note(Acted, runner, term, self._world.turns.turned_at, cleanup)

    @contextmanager
    def _at_work(self, runner: str, term: int, due_at: datetime | None = None) -> Generator[None, None, None]:
        self.note(Began, runner, term, due_at)
        try:
            yield
        finally:
            self.note(Ended, runner, term)


def _noted(world: World, life: str, kind: Callable[..., Event], *facts: Any) -> None:
    world.note(kind, life, *facts)
