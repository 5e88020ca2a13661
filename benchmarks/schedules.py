"""What schedules cost: to find the ten that are due among N cron runners, to keep them, to begin a term with them.

    python -m benchmarks.schedules [--json] [--brief]

Ten runners are due each minute, all others once a year. `find`: the microseconds in which the agenda finds the ten when
their minute has come; `look`: in which it finds that nothing is due, as once a second. Both by turns for all N, and
medians. `minute`: the milliseconds of CPU that a conductor takes for a minute of virtual time, with its sixty looks and
ten runs (renewals and heartbeats included), on a store in memory and without a journal. If N made a difference, there
would be no point in a heap.

Start: the seconds from the start of a conductor to the first run, by which all claims have been read and every runner
is on the agenda. In the first term each runner is claimed as registered; a later one finds these claims.
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import final

import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Cron, Every, LeaseStore, TickContext, TimedJobs
from conductor_jobs.agenda import Agenda
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.testing import MockWallClock

from .measuring import Cell, Table, alternate, command

SIZES, BRIEF_SIZES = (10, 100, 1_000, 10_000), (10, 50)
DUE = 10
MINUTELY, YEARLY = Cron("* * * * *"), "{minute} {hour} {day} 1 *"
# In June: those of January are far off.
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
ROUNDS, BRIEF_ROUNDS = 200, 2
MINUTES, BRIEF_MINUTES = 60, 1


def tables(*, brief: bool) -> list[Table]:
    """Measure all of it."""
    sizes, rounds = (BRIEF_SIZES, BRIEF_ROUNDS) if brief else (SIZES, ROUNDS)
    agendas = {size: _Lookups(size) for size in sizes}
    found = alternate({str(size): agenda.find for size, agenda in agendas.items()}, rounds)
    looked = alternate({str(size): agenda.look for size, agenda in agendas.items()}, rounds)
    minutes = BRIEF_MINUTES if brief else MINUTES
    rows: list[list[Cell]] = [
        [size, 1e6 * median(found[str(size)]), 1e6 * median(looked[str(size)]), 1e3 * _minute(size, minutes)]
        for size in sizes
    ]
    columns = ["runners", "find, µs", "look, µs", "minute, ms"]
    return [Table(f"{DUE} cron runners that are due, of N", columns, rows), _starts(sizes[-1])]


def _schedule(number: int) -> Cron:
    return Cron(YEARLY.format(minute=number % 60, hour=number // 60 % 24, day=1 + number // 1440 % 28))


@final
class _Lookups:
    """An agenda of so many, at a minute of its own."""

    def __init__(self, size: int) -> None:
        self._agenda = Agenda()
        self._now = BEGIN
        for number in range(size):
            self._agenda.put(f"runner-{number}", MINUTELY if number < DUE else _schedule(number), BEGIN)

    def find(self) -> float:
        self._now += timedelta(minutes=1)
        began = time.perf_counter()
        taken = self._agenda.take_due(self._now)
        took = time.perf_counter() - began
        assert len(taken) == DUE
        return took

    def look(self) -> float:
        began = time.perf_counter()
        taken = self._agenda.take_due(self._now)
        took = time.perf_counter() - began
        assert not taken
        return took


def _jobs(size: int) -> TimedJobs:
    jobs = TimedJobs(interval=3600)
    for number in range(size):
        jobs.register_runner(f"runner-{number}", _returns, schedule=MINUTELY if number < DUE else _schedule(number))
    return jobs


async def _returns(_: TickContext) -> None:
    """Do nothing."""


def _minute(size: int, minutes: int) -> float:
    async def main() -> float:
        wall_clock = MockWallClock(BEGIN)
        store = MemoryLeaseStore(wall_clock=wall_clock)
        conductor = Conductor(_jobs(size), store=store, wall_clock=wall_clock, boot_clock=trio.current_time)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            # The first minute has the beginning of the term in it.
            await trio.sleep(90)
            began = time.process_time()
            await trio.sleep(60 * minutes)
            took = time.process_time() - began
            conductor.request_stop()
        return took / minutes

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def _starts(size: int) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, LeaseStore] = {
            "memory": MemoryLeaseStore(),
            "SQLite": SQLiteLeaseStore(Path(folder) / "lease.db"),
        }
        rows: list[list[Cell]] = [[name, *trio.run(_first_and_later, store, size)] for name, store in stores.items()]
    return Table(
        f"Seconds until a conductor with {size:,} scheduled runners keeps them",
        ["store", "first term", "later term"],
        rows,
    )


async def _first_and_later(store: LeaseStore, size: int) -> list[float]:
    jobs = _jobs(size)
    ran: list[float] = []

    async def last(_: TickContext) -> None:
        ran.append(trio.current_time())
        conductor.request_stop()

    # Due at any moment, and taken up after all others.
    jobs.register_runner("last", last, schedule=Every(0.001))
    conductor = Conductor(jobs, store=store)
    took: list[float] = []
    for _ in range(2):
        began = trio.current_time()
        await conductor.run()
        took.append(ran[-1] - began)
    return took


main = command(tables)

if __name__ == "__main__":
    main()
