"""Nodes with runners that have schedules, on one store, one wall clock and virtual time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from conductor_jobs import Conductor, Cron, Every, JournalEntry, LeaseTiming, Node, TickContext, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import FaultyLeaseStore, MemoryJournal, MockWallClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE = "conductor"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def iso(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")


class Ledger:
    """What runners did: when, by Trio's clock, on which node, for which due instant."""

    def __init__(self) -> None:
        self.runs: list[tuple[float, str, float | None]] = []

    def runner(self, seconds: float = 0.0) -> Callable[[TickContext], Any]:
        async def run(ctx: TickContext) -> None:
            due_at = None if ctx.due_at is None else (ctx.due_at - NOON).total_seconds()
            self.runs.append((trio.current_time(), ctx.controller_id, due_at))
            await trio.sleep(seconds)

        return run

    @property
    def due(self) -> list[float | None]:
        return [due_at for _, _, due_at in self.runs]


class Cluster:
    """Nodes that share a store, a wall clock and a journal."""

    def __init__(self) -> None:
        self.wall_clock = MockWallClock(NOON)
        self.store = MemoryLeaseStore(wall_clock=self.wall_clock)
        self.journal = MemoryJournal()

    def node(self, jobs: TimedJobs, name: str = "a", **settings: Any) -> tuple[Conductor, FaultyLeaseStore]:
        store = FaultyLeaseStore(self.store)
        settings.setdefault("timing", LeaseTiming(ttl=30))
        conductor = Conductor(
            jobs,
            store=store,
            lease_name=LEASE,
            node=Node(name, name),
            journal=self.journal,
            wall_clock=self.wall_clock,
            boot_clock=lambda: 0.0,
            **settings,
        )
        return conductor, store

    def entries(self, stage: str, runner: str | None = None) -> list[JournalEntry]:
        return [each for each in self.journal.entries if each.stage == stage and runner in (None, each.runner)]


def jobs_of(name: str, run: Callable[[TickContext], Any], schedule: Every | Cron, **options: Any) -> TimedJobs:
    jobs = TimedJobs()
    jobs.register_runner(name, run, schedule=schedule, **options)
    return jobs


async def crash(conductor: Conductor, store: FaultyLeaseStore) -> None:
    """End a node as a kill would: nothing of it reaches the store any more."""
    store.partition()
    conductor.cancel_work()
    await conductor.stop()
