"""The simulated cluster: real conductors on one store, in one Trio run on a MockClock, under a plan of faults."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import final

import trio
from trio.testing import MockClock

from ..lease import Node
from .effects import LoopTurns
from .fakes import MockWallClock
from .faulty_store import HANG, LOST_ANSWER, StoreCall, StoreFault
from .history import ClockSet, FaultEvent, History
from .life import Life, World
from .operators import Operator
from .scenario import RUNNER_FAULTS, SCHEDULE_FAULTS, START, STORE_FAULTS, Fault, Scenario

# Most of what is due is due on this grid; a crash comes so long after.
_GRID = 10.0
_AROUND_DUE = (-0.01, 0.0, 0.000_001, 0.01, 0.5, 3.0)
_ENDINGS: dict[str, Callable[[Life], None]] = {"crash": Life.crash, "stop": Life.request_stop, "cancel": Life.cancel}
_FLAKY = ("slow", "slow answers", "lost answers", "broken answers", "errors", "late writes")


@final
class Cluster:
    """One simulation under way."""

    def __init__(self, scenario: Scenario, seed: int, plan: Sequence[Fault], clock: MockClock) -> None:
        self.scenario = scenario
        self.over: trio.Event = trio.Event()
        self.history: History = History()
        self._seed = seed
        self._plan = plan
        self._clock = clock
        self._misdeeds: deque[Fault] = deque()
        self._wall_clock = MockWallClock(START)
        self._nodes: list[_Node] = []

    async def run(self) -> History:
        """Run to the end, and return what happened."""
        turns = LoopTurns(trio.current_time)
        trio.lowlevel.add_instrument(turns)
        world = World(
            self.scenario,
            self.scenario.store(),
            self.scenario.clock_rate(self._seed),
            self.history,
            self._clock,
            self._wall_clock,
            turns,
            self._misdeeds,
        )
        async with trio.open_nursery() as nursery:
            self._nodes = [_Node(self, number, world, nursery) for number in range(self.scenario.nodes)]
            for node in self._nodes:
                nursery.start_soon(node.run)
            for fault in self._plan:
                await trio.sleep_until(fault.at)
                self._apply(fault, nursery)
            await trio.sleep_until(self.scenario.duration)
            self.over.set()
            for node in self._nodes:
                node.end(Life.request_stop)
        return self.history

    def _apply(self, fault: Fault, nursery: trio.Nursery) -> None:
        node = self._nodes[fault.node]
        if fault.kind in RUNNER_FAULTS:
            self._misdeeds.append(fault)
        elif fault.kind in STORE_FAULTS:
            struck = self._nodes if fault.kind == "outage" else [node]
            for each in struck:
                nursery.start_soon(each.suffer, fault)
        elif fault.kind in SCHEDULE_FAULTS:
            self._apply_to_schedules(fault, node, nursery)
        else:
            node.end(_ENDINGS[fault.kind], fault.seconds)

    def _apply_to_schedules(self, fault: Fault, node: "_Node", nursery: trio.Nursery) -> None:
        match fault.kind:
            case "pause":
                nursery.start_soon(node.operator.pause, fault)
            case "run now":
                nursery.start_soon(self._leader_or(node).operator.run_now, fault)
            case "resign":
                nursery.start_soon(self._leader_or(node).operator.resign)
            case "clock step":
                seconds = fault.seconds if fault.seed % 2 else -fault.seconds
                self._wall_clock.step(seconds)
                self.history.events.append(ClockSet(trio.current_time(), "", seconds))
            case _:
                nursery.start_soon(self._crash_at_due, fault, node, nursery)

    async def _crash_at_due(self, fault: Fault, node: "_Node", nursery: trio.Nursery) -> None:
        chance = random.Random(fault.seed)
        wait = max(0.0, -self._wall_clock() % _GRID + chance.choice(_AROUND_DUE))
        if trio.current_time() + wait + _GRID < self.scenario.duration - self.scenario.calm:
            # Answers that come late open the gap between a claim and its run.
            late = Fault(fault.at, "slow answers", fault.node, wait + _AROUND_DUE[-1], fault.seed)
            if chance.random() < 0.5:
                nursery.start_soon(self._leader_or(node).suffer, late)
            await trio.sleep(wait)
            self._leader_or(node).end(Life.crash, fault.seconds)

    def _leader_or(self, node: "_Node") -> "_Node":
        return next((each for each in self._nodes if each.life is not None and each.life.leads), node)


@final
class _Node:
    """A node: one life after the other, and the network between it and the store."""

    def __init__(self, cluster: Cluster, number: int, world: World, lives: trio.Nursery) -> None:
        self.name = f"n{number}"
        # One primary that goes first, and one that lets others go first.
        self._node = Node(self.name, "simulated", priority=50 if number == 2 else 100, version="simulated")
        self._cluster = cluster
        self._world = world
        self._lives = lives
        self._lives_lived = 0
        self.life: Life | None = None
        self.operator: Operator = Operator(lambda: self.life, cluster.over)
        self._absence = 0.0
        self._faults: list[tuple[Fault, random.Random]] = []

    async def run(self) -> None:
        """Live, and live again, until the simulation is over."""
        while not self._cluster.over.is_set():
            self._lives_lived += 1
            self._absence = 0.0
            self.life = Life(self._world, f"{self.name}.{self._lives_lived}", self._node, self._befalls)
            self._lives.start_soon(self.life.run)
            await self.life.gone.wait()
            with trio.move_on_after(self._absence):
                await self._cluster.over.wait()

    def end(self, how: Callable[[Life], None], absence: float = 0.0) -> None:
        """End the life that there is, and have the next begin so many seconds after."""
        if self.life is not None and not self.life.gone.is_set():
            self._absence = absence
            how(self.life)

    async def suffer(self, fault: Fault) -> None:
        """Have calls of the store go wrong for a while."""
        window = (fault, random.Random(fault.seed))
        self._world.note(FaultEvent, self.name, fault.kind, True)
        self._faults.append(window)
        await trio.sleep(fault.seconds)
        self._faults.remove(window)
        self._world.note(FaultEvent, self.name, fault.kind, False)
        if not self._faults and self.life is not None:
            # Connections that hung through the trouble break when it is over.
            self.life.store.reset()

    def _befalls(self, call: StoreCall) -> StoreFault | None:
        if not self._faults:
            return None
        fault, chance = self._faults[-1]
        kind: str = fault.kind
        if kind == "flaky":
            kind = chance.choice((*_FLAKY, *("nothing" for _ in _FLAKY)))
        return _store_fault(kind, call, chance, self._cluster.scenario)


def _store_fault(kind: str, call: StoreCall, chance: random.Random, scenario: Scenario) -> StoreFault | None:
    some_seconds = chance.uniform(0, 1.5 * scenario.timing.store_timeout)
    match kind:
        case "slow":
            return StoreFault(delay_before=some_seconds)
        case "slow answers":
            return StoreFault(delay_after=some_seconds)
        case "lost answers":
            return LOST_ANSWER
        case "broken answers":
            return StoreFault(broken=ConnectionError("the connection broke"))
        case "hang":
            return HANG
        case "late writes":
            return StoreFault(late=chance.uniform(0, 2 * scenario.timing.ttl))
        case "release lost":
            return HANG if call == "release" else None
        case "errors" | "outage":
            return StoreFault(error=ConnectionError("the store is away"))
        case _:
            return None
