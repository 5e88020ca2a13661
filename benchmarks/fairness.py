"""Whether flat-out ticks leave room for others: a task that wakes every 2 ms, and the renewals of the lease.

    python -m benchmarks.fairness [--json] [--brief] [--runners N]

In one Trio run: a conductor on SQLite with a lease of 3 s and a journal, ticks of 10,000 no-op runners asked for one
after the other, and beside it a task that sleeps until the next multiple of 2 ms and notes by how much it was late. A
renewal is late by how long after `renew_interval` the store was asked, counted from when it was asked before. The row
without ticks is what this machine does to both in any case. `terms`: one, if no lease was lost.
"""

import itertools
import tempfile
from pathlib import Path
from typing import final

import click
import trio

from conductor_jobs import Conductor, Holder, LeaseGrant, LeaseTiming
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .flat_out import Case, run_flat_out
from .measuring import Cell, Table, command, spread
from .our_ticks import no_op_jobs

RUNNERS, BRIEF_RUNNERS = 10_000, 100
SECONDS, BRIEF_SECONDS = 10.0, 0.8
PERIOD = 0.002
TIMING = LeaseTiming(ttl=3.0)


def tables(*, brief: bool, runners: int | None = None) -> list[Table]:
    """Measure with ticks and without."""
    seconds = BRIEF_SECONDS if brief else SECONDS
    runners = runners or (BRIEF_RUNNERS if brief else RUNNERS)
    with tempfile.TemporaryDirectory() as folder:
        busy = trio.run(_measure, Path(folder), runners, seconds)
    with tempfile.TemporaryDirectory() as folder:
        idle = trio.run(_measure, Path(folder), 0, seconds)
    columns = ["beside", "wake-ups", "p50", "p99", "max", "renewals", "p50 ", "max ", "terms"]
    title = "Milliseconds late: a task every 2 ms, then the renewals"
    return [Table(title, columns, [[f"ticks of {runners:,}", *busy], ["no ticks", *idle]])]


async def _measure(folder: Path, runners: int, seconds: float) -> list[Cell]:
    store = TimedStore(SQLiteLeaseStore(folder / "conductor.db"))
    jobs = no_op_jobs(Case(runners, "a", log=True, seconds=seconds))
    conductor = Conductor(jobs, store=store, timing=TIMING, log_dir=folder / "logs", autostart=False)
    late: list[float] = []

    async def tick() -> bool:
        return (await conductor.run_tick()).decision == "scheduled"

    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        nursery.start_soon(_wake_often, late)
        if runners:
            await run_flat_out(tick, seconds)
        else:
            await trio.sleep(seconds)
        conductor.request_stop()
        nursery.cancel_scope.cancel()
    gaps = [(b - a - TIMING.renew_interval) * 1000 for a, b in itertools.pairwise(store.asked_at)]
    renewals = spread(gaps) if gaps else (None, None, None)
    return [len(late), *spread(late), len(gaps), renewals[0], renewals[2], len(store.terms)]


async def _wake_often(late: list[float]) -> None:
    due = trio.current_time()
    while True:
        due = max(due + PERIOD, trio.current_time())
        await trio.sleep_until(due)
        late.append((trio.current_time() - due) * 1000)


@final
class TimedStore:
    """Passes calls on to a SQLite store; notes when the lease was asked for, and the terms that were granted."""

    def __init__(self, store: SQLiteLeaseStore) -> None:
        self._store = store
        self.asked_at: list[float] = []
        self.terms: set[int] = set()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""
        self.asked_at.append(trio.current_time())
        grant = await self._store.acquire(lease_name, holder, ttl, term=term)
        self.terms.add(grant.term)
        return grant

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""
        return await self._store.release(lease_name, holder)


OPTION = click.Option(["--runners"], type=click.IntRange(min=1), help=f"Runners of a tick, {RUNNERS:,} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
