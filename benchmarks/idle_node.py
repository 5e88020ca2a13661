"""One node for `benchmarks.idle`: `python -m benchmarks.idle_node FOLDER SECONDS` prints one line of JSON."""

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

import trio

from conductor_jobs import Conductor, Holder, LeaseGrant, Node, TimedJobs
from conductor_jobs.lease import NodeSeen, NodeState
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .our_ticks import returns

# Imports, the first answer and the first file are no idling.
SETTLE_SECONDS = 0.5


@final
class CountedStore:
    """Passes calls on to a SQLite store and counts them."""

    def __init__(self, store: SQLiteLeaseStore) -> None:
        self._store = store
        self.calls = 0

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""
        self.calls += 1
        return await self._store.acquire(lease_name, holder, ttl, term=term)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""
        self.calls += 1
        return await self._store.release(lease_name, holder)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`."""
        self.calls += 1
        await self._store.heartbeat(lease_name, node, incarnation, state, fingerprint)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        self.calls += 1
        return await self._store.nodes(lease_name)


@final
class Turns(trio.abc.Instrument):
    """Counts how often the loop wakes."""

    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - the signature of an Instrument
        """See `trio.abc.Instrument`."""
        self.count += 1


async def idle(folder: Path, seconds: float) -> dict[str, object]:
    """Run a conductor that has nothing to do, and return what that took."""
    jobs = TimedJobs()
    jobs.register_runner("no-op", returns)
    store = CountedStore(SQLiteLeaseStore(folder / "conductor.db"))
    conductor = Conductor(jobs, store=store, log_dir=folder / "logs")
    turns = Turns()
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await trio.sleep(SETTLE_SECONDS)
        trio.lowlevel.add_instrument(turns)
        calls, before, began = store.calls, resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await trio.sleep(seconds)
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        measured: dict[str, object] = {
            "leadership": conductor.status().leadership,
            "seconds": took,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "switches": after.ru_nvcsw - before.ru_nvcsw,
            "turns": turns.count,
            "calls": store.calls - calls,
        }
        nursery.cancel_scope.cancel()
    return measured


if __name__ == "__main__":
    print(json.dumps(trio.run(idle, Path(sys.argv[1]), float(sys.argv[2]))))
