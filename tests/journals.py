"""Journals that real conductors write on virtual time, for the judge of journals, and ways to falsify them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, LeaseTiming, Node, TickContext, TimedJobs
from conductor_jobs.journal import FRAMEWORK, LEASE
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MockWallClock

from .support import NodeStore, make_jobs

# Shortly before midnight: a tick is in flight then.
START = 1775087938.0
DAY, NEXT_DAY = "2026-04-01", "2026-04-02"
Lines = list[dict[str, Any]]


async def quick(ctx: TickContext) -> None:
    ctx.log("worked", details={"found": 3})


async def slow(ctx: TickContext) -> None:
    ctx.log("begun")
    await trio.sleep(4)
    ctx.log("done")


async def failing(ctx: TickContext) -> None:
    raise ValueError("bad customer")


class Site:
    """Nodes that share a store, a wall clock and a log folder."""

    def __init__(self, folder: Path, start: float = START) -> None:
        self.folder = folder
        self.store = MemoryLeaseStore()
        self.wall_clock = MockWallClock(start)

    def node(self, name: str, jobs: TimedJobs | None = None, host: str = "mini") -> tuple[Conductor, NodeStore]:
        store = NodeStore(self.store)
        conductor = Conductor(
            jobs or make_jobs(quick, slow, failing, interval=10.0),
            store=store,
            node=Node(name, host),
            timing=LeaseTiming(ttl=30),
            log_dir=self.folder,
            wall_clock=self.wall_clock,
            boot_clock=lambda: 0.0,
        )
        return conductor, store


def on_virtual_time(main: Callable[[], Any]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def write_history(folder: Path, start: float = START) -> None:
    """Write what two nodes do in some minutes, over midnight: alpha leads, is cut off, and beta leads; then they stop.

    Alpha is restarted in between. Terms: 1 is alpha's, 2 beta's, 3 the restarted alpha's.
    """

    async def main() -> None:
        site = Site(folder, start)
        alpha, alphas_store = site.node("alpha")
        beta, _ = site.node("beta")
        async with trio.open_nursery() as nursery:
            await nursery.start(alpha.run)
            await nursery.start(beta.run)
            await trio.sleep(52)
            alphas_store.hang()
            await beta.wait_leader()
            alphas_store.heal()
            await trio.sleep(45)
            await alpha.stop()
            await nursery.start(alpha.run)
            await trio.sleep(7)
            await beta.stop()
            await alpha.wait_leader()
            await trio.sleep(12)
            await alpha.stop()

    on_virtual_time(main)


def read(folder: Path) -> dict[str, Lines]:
    return {
        file.name: [json.loads(line) for line in file.read_bytes().splitlines()]
        for file in sorted(folder.glob("*.jsonl"))
    }


def write(folder: Path, journals: dict[str, Lines]) -> None:
    for name, lines in journals.items():
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        (folder / name).write_text(text)


class Scribe:
    """Writes lines by hand as one writer would; `at` in milliseconds after midnight."""

    def __init__(self, lines: Lines, node_id: str, incarnation: str = "", host: str = "mini") -> None:
        self._lines = lines
        self._file = f"{node_id}.jsonl"
        self.node_id = node_id
        self.who = {
            "host": host,
            "incarnation": incarnation or f"run of {node_id}",
            "lease_name": "conductor",
            "node_id": node_id,
            "pid": 7,
        }

    def begin(self, at: int = 0, stage: str = "started") -> None:
        self.add(at, FRAMEWORK, stage, "b", **self.who)

    def lead(self, at: int, term: int, stage: str = "leader_started", holder_id: str | None = None) -> None:
        self.add(at, LEASE, stage, "b", lease_name="conductor", term=term, holder_id=holder_id or self.node_id)

    def tick(self, at: int, batch_id: str, stage: str = "tick_started") -> None:
        self.add(at, FRAMEWORK, stage, batch_id)

    def run(self, at: int, batch_id: str, term: int, runner: str = "r") -> None:
        self.add(at, runner, "runner_started", batch_id, term=term)

    def add(self, at: int, runner: str, stage: str, batch_id: str, **details: object) -> None:
        seconds, milliseconds = divmod(at, 1000)
        ts = f"{DAY}T00:{seconds // 60:02}:{seconds % 60:02}.{milliseconds:03}Z"
        keys = {"batch_id": batch_id, "duration_ms": None, "error": None, "result": None, "runner": runner}
        self._lines.append({**keys, "stage": stage, "ts": ts, "file": self._file, **details})
