"""What several test modules need: a journal in memory, a node's view of a store with faults, ready conductors."""

import math
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from conductor_jobs import Conductor, Holder, JournalEntry, LeaseGrant, LeaseStore, LeaseTiming, Node, TimedJobs
from conductor_jobs.lease import NodeRegistry, NodeSeen, NodeState, ReleaseWatcher
from conductor_jobs.stores.memory import MemoryLeaseStore

TTL = 30.0
MARGIN = 3.0
STORE_TIMEOUT = 5.0
RENEW_INTERVAL = 5.0


class ListJournal:
    """Keeps the entries that were flushed, as a reader of the file would see them."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self._added: list[JournalEntry] = []

    def add(self, entry: JournalEntry) -> None:
        self._added.append(entry)

    def flush(self) -> None:
        self.entries += self._added
        self._added.clear()

    def stages(self, *, of: str | None = None) -> list[str]:
        return [entry.stage for entry in self.entries if of in (None, entry.runner)]

    def one(self, stage: str) -> JournalEntry:
        (entry,) = [entry for entry in self.entries if entry.stage == stage]
        return entry

    def all(self, stage: str) -> list[JournalEntry]:
        return [entry for entry in self.entries if entry.stage == stage]


class NodeStore:
    """One node's way to a shared store, which may be slow, broken, or cut off."""

    def __init__(self, store: MemoryLeaseStore) -> None:
        self._store = store
        self.calls: list[tuple[float, str]] = []
        self.delay_before = 0.0
        self.delay_after = 0.0
        self.error: BaseException | None = None

    def hang(self) -> None:
        self.delay_before = math.inf

    def lose_answers(self) -> None:
        self.delay_after = math.inf

    def heal(self) -> None:
        self.delay_before = self.delay_after = 0.0
        self.error = None

    def count(self, call: str) -> int:
        return sum(1 for _, each in self.calls if each == call)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        await self._before("campaign" if term is None else "renew")
        grant = await self._store.acquire(lease_name, holder, ttl, term=term)
        await trio.sleep(self.delay_after)
        return grant

    async def release(self, lease_name: str, holder: Holder) -> bool:
        await self._before("release")
        return await self._store.release(lease_name, holder)

    async def _before(self, call: str) -> None:
        self.calls.append((trio.current_time(), call))
        await trio.sleep(self.delay_before)
        if self.error is not None:
            raise self.error


class WatchingNodeStore(NodeStore):
    """The same for a node that is told of releases and sends heartbeats."""

    async def wait_released(self, lease_name: str, term: int) -> None:
        await self._store.wait_released(lease_name, term)

    async def wait_begun(self, lease_name: str, term: int) -> None:
        await self._store.wait_begun(lease_name, term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        await self._before(f"heartbeat {state}")
        await self._store.heartbeat(lease_name, node, incarnation, state, fingerprint)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        return await self._store.nodes(lease_name)


assert isinstance(WatchingNodeStore(MemoryLeaseStore()), LeaseStore)
assert isinstance(WatchingNodeStore(MemoryLeaseStore()), ReleaseWatcher)
assert isinstance(WatchingNodeStore(MemoryLeaseStore()), NodeRegistry)
assert not isinstance(NodeStore(MemoryLeaseStore()), ReleaseWatcher)


def make_jobs(*runners: Any, **settings: Any) -> TimedJobs:
    """Register functions under their own names."""
    jobs = TimedJobs(**settings)
    for run in runners:
        jobs.register_runner(run.__name__, run)
    return jobs


def make_conductor(
    jobs: TimedJobs, store: LeaseStore | None = None, *, node_id: str = "mini-main", **settings: Any
) -> tuple[Conductor, ListJournal]:
    """Return a conductor of `mini`, and what it will write."""
    journal = ListJournal()
    settings.setdefault("node", Node(node_id, "mini"))
    settings.setdefault("timing", LeaseTiming(ttl=TTL))
    # A machine that is never suspended: only Trio's clock, which the tests drive, moves deadlines.
    settings.setdefault("boot_clock", lambda: 0.0)
    conductor = Conductor(jobs, store=store or MemoryLeaseStore(), journal=journal, **settings)
    return conductor, journal


class SuspendableClock:
    """A clock that counts suspend: Trio's, and the seconds for which Trio's stood still."""

    def __init__(self) -> None:
        self.suspended = 0.0

    def __call__(self) -> float:
        return trio.current_time() + self.suspended


async def noop(ctx: object) -> None:
    """Run to the end at once."""


def clings_for(seconds: float) -> Callable[[object], Awaitable[None]]:
    """Make work that lasts until it is cancelled, and whose cleanup then takes so many seconds."""

    async def clings(given: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)

    return clings


def blocked_fdatasync(monkeypatch: Any) -> threading.Event:
    """Have every fdatasync wait, for two minutes at most, until the event that is returned is set."""
    disk = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: disk.wait(120))
    return disk
