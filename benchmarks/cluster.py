"""Simulated nodes: conductors in one Trio run on virtual time, over one store, each with its own way to it.

A crash is what the others see of it: from then on nothing of that node reaches the store, and no answer reaches the
node. (The node itself goes on, not knowing that it is dead, until its term ends.)
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar, final

import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, LeaseTiming, Node, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import FaultyLeaseStore, StoreFault
from conductor_jobs.testing.faulty_store import StoreCall
from conductor_jobs.testing.seeding import run_seeded

T = TypeVar("T")
# Seconds that a question travels, and its answer: each way a random time up to this.
LATENCY = 0.005


def _latency(call: StoreCall) -> StoreFault | None:
    # A standby that waits to be told something has asked long before; what it is told travels too.
    asking = 0.0 if call in ("wait_released", "wait_begun") else random.uniform(0, LATENCY)
    return StoreFault(delay_before=asking, delay_after=random.uniform(0, LATENCY))


@final
class SimulatedNode:
    """A conductor and its way to the store."""

    def __init__(self, name: str, store: MemoryLeaseStore, priority: int | None, *, watching: bool) -> None:
        self.wire = FaultyLeaseStore(store, watching=watching)
        self.wire.fault = _latency
        self.conductor = Conductor(
            TimedJobs(),
            store=self.wire,
            node=Node(name, "simulated", priority=priority),
            timing=LeaseTiming(),
            autostart=False,
            # The machine is never suspended, so one clock is enough.
            boot_clock=trio.current_time,
        )


@final
class Cluster:
    """Nodes over one store. The first to start leads; standbys have `standby_priority`."""

    def __init__(self, size: int, *, watching: bool, standby_priority: int | None = None) -> None:
        store = MemoryLeaseStore()
        priorities = [None, *[standby_priority] * (size - 1)]
        self.nodes = [
            SimulatedNode(f"node-{number}", store, priority, watching=watching)
            for number, priority in enumerate(priorities)
        ]

    @property
    def leader(self) -> SimulatedNode:
        """The node that leads, by its own account."""
        (leader,) = [node for node in self.nodes if node.conductor.leadership.value is not None]
        return leader

    async def start(self, nursery: trio.Nursery, *, over: float = 1.0) -> None:
        """Start the first node, and then the others at random moments of the next seconds, as programs would."""
        await nursery.start(self.nodes[0].conductor.run)

        async def start_later(node: SimulatedNode) -> None:
            await trio.sleep(random.uniform(0, over))
            await nursery.start(node.conductor.run)

        async with trio.open_nursery() as starting:
            for node in self.nodes[1:]:
                starting.start_soon(start_later, node)

    async def wait_for_another(self, than: SimulatedNode) -> SimulatedNode:
        """Wait until a node other than this one leads, and return it."""
        found: list[SimulatedNode] = []
        async with trio.open_nursery() as waiting:

            async def wait(node: SimulatedNode) -> None:
                await node.conductor.wait_leader()
                found.append(node)
                waiting.cancel_scope.cancel()

            for node in self.nodes:
                if node is not than:
                    waiting.start_soon(wait, node)
        return found[0]

    def calls(self, since: float, until: float) -> Counter[StoreCall]:
        """Count the calls of all nodes in that time, by their kind."""
        return Counter(kind for node in self.nodes for at, kind in node.wire.calls if since <= at < until)

    def busiest(self, since: float, until: float, window: float) -> int:
        """Return the most campaigns that fell into any `window` seconds of that time, counted from its beginning."""
        campaigns = [at for node in self.nodes for at, kind in node.wire.calls if kind == "campaign"]
        slots = Counter(int((at - since) / window) for at in campaigns if since <= at < until)
        return max(slots.values(), default=0)


def simulate(run: Callable[[trio.Nursery], Awaitable[T]], seed: int) -> T:
    """Run on virtual time, with a nursery that is cancelled at the end; `seed` decides what is left to chance."""

    async def in_nursery() -> T:
        async with trio.open_nursery() as nursery:
            found = await run(nursery)
            nursery.cancel_scope.cancel()
        return found

    return run_seeded(in_nursery, seed, MockClock(autojump_threshold=0))
