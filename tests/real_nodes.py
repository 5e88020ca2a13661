"""Nodes on the real clock, in the test's own Trio run, each behind a network of its own, judged by their journals."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from conductor_jobs import Conductor, JournalEntry, LeaseStore, LeaseTiming, Node, TickContext, TimedJobs, read_journal
from conductor_jobs.verify import verify

from .real_servers.proxy import Proxy

PATIENCE = 60.0
TTL = 2.0
#: Where a term has to last: a busy machine is no fault that it is tested for. Renewed as often as a short one.
LONG = LeaseTiming(20.0, renew_interval=0.5)


class RealNode:
    """A conductor with ten ticks a second, its store, and the network between that and the server."""

    def __init__(self, name: str, folder: Path, store: LeaseStore, proxy: Proxy, timing: LeaseTiming) -> None:
        self.name = name
        self.folder = folder / name
        self.proxy = proxy
        self.store = store
        jobs = TimedJobs(interval=0.1)
        jobs.register_runner("work", _work)
        self.conductor = Conductor(
            jobs, store=store, node=Node(name, "mini"), timing=timing, log_dir=self.folder, drain_timeout=1.0
        )

    @property
    def leads(self) -> bool:
        return self.conductor.status().leadership == "leader"

    @property
    def term(self) -> int:
        return self.conductor.status().term or 0

    def journal(self, *stages: str) -> list[JournalEntry]:
        entries = [entry for file in sorted(self.folder.glob("*.jsonl")) for entry in read_journal(file)]
        return [entry for entry in entries if entry.stage in stages]

    def problems(self) -> list[str]:
        """Return what the journal says went wrong with the store."""
        return [str(entry.error) for entry in self.journal("renew_failed", "acquire_failed", "release_failed")]

    async def until(self, condition: Callable[["RealNode"], object]) -> None:
        """Wait until something is true of this node."""
        await until(lambda: condition(self), lambda: f"{self.name}: {self.conductor.status()}")

    async def ticks(self, count: int = 3) -> None:
        """Wait for so many more ticks that did their work."""
        before = len(self.journal("runner_completed"))
        await self.until(lambda node: len(node.journal("runner_completed")) >= before + count)


async def _work(ctx: TickContext) -> None:
    await trio.sleep(0.03)
    ctx.check_lease()


async def until(condition: Callable[[], object], what: str | Callable[[], str] = "it") -> None:
    with trio.move_on_after(PATIENCE) as patience:
        while not condition():
            await trio.sleep(0.02)
    assert condition() or not patience.cancelled_caught, what() if callable(what) else what


@asynccontextmanager
async def running(
    folder: Path,
    port: int,
    open_store: Callable[[Proxy], LeaseStore],
    *names: str,
    timing: LeaseTiming | None = None,
) -> AsyncGenerator[list[RealNode]]:
    """Run nodes, each behind a proxy of its own to the server at `port`; at the end all stop, and are judged.

    Of several the first leads when this begins, for the others are started after that.
    """
    timing = timing or LeaseTiming(TTL)
    async with AsyncExitStack() as stack:
        nodes = []
        for name in names:
            proxy = stack.enter_context(Proxy(port))
            store = open_store(proxy)
            await stack.enter_async_context(store)  # type: ignore[arg-type] # those with connections are
            nodes.append(RealNode(name, folder, store, proxy, timing))
        async with trio.open_nursery() as nursery:
            for node in nodes:
                await nursery.start(node.conductor.run)
                if len(nodes) > 1:
                    await until(lambda: leader(nodes))
            yield nodes
            for node in nodes:
                node.conductor.request_stop()
    report = verify([node.folder for node in nodes])
    assert report.violation_count == 0, report.violations


# What the nodes of every store are put through.


def leader(nodes: list[RealNode]) -> RealNode | None:
    return next((node for node in nodes if node.leads), None)


async def recovered(nodes: list[RealNode]) -> RealNode:
    """Wait until somebody leads and does work, and nobody has trouble; return who leads."""
    await until(lambda: leader(nodes) and not any(node.conductor.status().consecutive_renew_failures for node in nodes))
    found = leader(nodes)
    assert found is not None
    await found.ticks()
    return found


async def degraded(nodes: list[RealNode]) -> None:
    for node in nodes:
        await node.until(lambda node: node.conductor.status().degraded)


async def survive_broken_connections(nodes: list[RealNode], pause: float) -> None:
    for _ in range(10):
        for node in nodes:
            node.proxy.cut()
        await trio.sleep(pause)
    assert await recovered(nodes) is nodes[0]
    assert [node.term for node in nodes] == [1, 1]


async def cut_off(alpha: RealNode, beta: RealNode) -> None:
    """Cut off the one that leads: the other leads, also when the first is back."""
    alpha.proxy.black_hole()
    await beta.until(lambda node: node.leads)
    assert not alpha.leads
    await beta.ticks()
    await degraded([alpha])
    alpha.proxy.heal()
    assert await recovered([alpha, beta]) is beta
    await alpha.until(lambda node: node.conductor.status().holder_id == "beta")
    assert (alpha.leads, alpha.term) == (False, 2)


async def survive_latency(nodes: list[RealNode], delay: float) -> None:
    for node in nodes:
        node.proxy.delay = delay
    await trio.sleep(6 * LONG.renew_interval)
    assert await recovered(nodes) is nodes[0]
    assert [node.term for node in nodes] == [1, 1]
    for node in nodes:
        node.proxy.delay = 0.0


async def lead_again_after_latency(nodes: list[RealNode], timing: LeaseTiming) -> None:
    for node in nodes:
        node.proxy.delay = 0.9 * timing.ttl
    await nodes[0].until(lambda node: not node.leads)
    await trio.sleep(2 * timing.ttl)
    assert leader(nodes) is None
    for node in nodes:
        node.proxy.delay = 0.0
    assert (await recovered(nodes)).term > 1
