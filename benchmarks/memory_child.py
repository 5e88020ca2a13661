"""One fresh process for `benchmarks.memory`: `python -m benchmarks.memory_child WHAT NUMBER` prints a line of JSON."""

import gc
import json
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import final

import trio

from conductor_jobs import Conductor, LeaseStore, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .flat_out import Case
from .our_ticks import no_op_jobs, returns

SAMPLES = 20
TICKS_A_DAY = 10_000
DAY = 86_400.0


def runners(number: int) -> dict[str, object]:
    """Register that many runners, and return what that took."""
    jobs = TimedJobs()
    gc.collect()
    resident = resident_bytes()
    for each in range(number):
        jobs.register_runner(f"renewal.runner-{each}", returns)
    resident = resident_bytes() - resident
    tracemalloc.start()
    traced_jobs = TimedJobs()
    for each in range(number):
        traced_jobs.register_runner(f"renewal.runner-{each}", returns)
    gc.collect()
    return {"resident": resident, "traced": tracemalloc.get_traced_memory()[0]}


def resident_bytes() -> int:
    """Return what the process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def traced_bytes() -> int:
    """Return what Python's allocators have handed out."""
    return tracemalloc.get_traced_memory()[0]


async def tick_on(ticks: int, weigh: Callable[[], int]) -> dict[str, object]:
    """Run ticks, weighing the process now and then."""
    samples: list[tuple[int, int]] = []
    clock = FastDays()
    with tempfile.TemporaryDirectory() as folder:
        conductor = Conductor(
            no_op_jobs(Case(1, "b", True, 0)),
            store=MemoryLeaseStore(),
            log_dir=folder,
            wall_clock=clock,
            autostart=False,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            for number in range(1, ticks + 1):
                await conductor.run_tick()
                if number % TICKS_A_DAY == 0:
                    clock.day += 1
                    for file in sorted(Path(folder).iterdir())[:-1]:
                        file.unlink()
                if number % (ticks // SAMPLES) == 0:
                    gc.collect()
                    samples.append((number, weigh()))
            conductor.request_stop()
    return {"samples": samples}


@final
class FastDays:
    """Wall time on which somebody else decides when a day is over."""

    def __init__(self) -> None:
        self.day = 0

    def __call__(self) -> float:
        """Return unix seconds."""
        return time.time() + self.day * DAY


async def seconds_to_lead(store: LeaseStore) -> dict[str, object]:
    """Return how long a conductor takes until it leads."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        conductor = Conductor(TimedJobs(), store=store, log_dir=folder)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            seconds = time.perf_counter() - began
            conductor.request_stop()
    return {"seconds": seconds}


def measure(what: str, number: int) -> dict[str, object]:
    """Measure one thing."""
    if what == "runners":
        return runners(number)
    if what == "resident":
        return trio.run(tick_on, number, resident_bytes)
    if what == "tracemalloc":
        tracemalloc.start()
        return trio.run(tick_on, number, traced_bytes)
    if what == "memory":
        return trio.run(seconds_to_lead, MemoryLeaseStore())
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(seconds_to_lead, SQLiteLeaseStore(Path(folder) / "conductor.db"))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
