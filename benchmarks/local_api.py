"""What the local API costs the jobs: without it, with it, and with 200 listeners besides one who never reads.

    python -m benchmarks.local_api [--json] [--brief] [--seconds SECONDS]

A conductor on SQLite with a lease of 3 s, a journal and a tick of 20 no-op runners every 50 ms; listeners are a process
of their own on the same machine. A tick is late by how long after its place on the grid its first runner began, a
renewal by how long after `renew_interval` the store was asked, counted from when it was asked before. `heard`: the
fewest and the most ticks that a listener heard of; who is told that he has missed events counts as one who heard of
none. `dropped`: whether the one who never reads was dropped, which takes as long as his buffers fill, and ten seconds.
CPU is that of the conductor's process. The second table asks for ticks of 100 no-op runners one after the other.
"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, final

import click
import httpx2
import trio

from conductor_jobs import Conductor, LeaseTiming, TickContext, TimedJobs
from conductor_jobs.local_api.serving import LocalServer, listening
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .fairness import TimedStore
from .flat_out import Case, run_flat_out
from .measuring import ROOT, Cell, Table, command, spread
from .our_ticks import no_op_jobs

SECONDS, BRIEF_SECONDS = 20.0, 0.6
LISTENERS, BRIEF_LISTENERS = 200, 5
INTERVAL: Final = 0.05
RUNNERS: Final = 20
FLAT_OUT_RUNNERS: Final = 100
TIMING: Final = LeaseTiming(ttl=3.0)
WITHOUT, ALONE = "no local API", "nobody listens"


def tables(*, brief: bool, seconds: float | None = None) -> list[Table]:
    """Measure the three by turns."""
    seconds = seconds or (BRIEF_SECONDS if brief else SECONDS)
    listeners = BRIEF_LISTENERS if brief else LISTENERS
    cases = {WITHOUT: None, ALONE: 0, f"{listeners} listeners, one never reads": listeners}
    rows: list[list[Cell]] = [[name, *trio.run(_measure, count, seconds)] for name, count in cases.items()]
    flat: list[list[Cell]] = [[name, trio.run(_measure_flat_out, count, seconds / 4)] for name, count in cases.items()]
    late = ["ticks", "missed", "p50", "p99", "max", "renewals", "p50 ", "p99 ", "max ", "terms"]
    columns = ["beside", *late, "% of a core", "heard", "dropped"]
    title = f"Milliseconds late: ticks every {INTERVAL * 1000:g} ms, then the renewals, over {seconds:g} s"
    cost = f"Microseconds per runner execution, ticks of {FLAT_OUT_RUNNERS} flat out"
    return [Table(title, columns, rows), Table(cost, ["beside", "µs"], flat)]


@final
class Listeners:
    """A process that listens, `count` times, and one connection that never reads; and what they heard."""

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._count = count
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Return once all of them listen."""
        command = [sys.executable, "-m", "benchmarks.local_api_listeners", self._url, str(self._count)]
        self._process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=PIPE)
        assert await self._line() == {"listening": self._count}

    async def heard(self) -> Any:
        """Return what they heard, once the server has ended."""
        assert self._process is not None
        told = await self._line()
        await self._process.wait()
        return told

    async def _line(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            received = await self._process.stdout.receive_some()
            assert received, "the process of the listeners failed"
            line += received
        return json.loads(line)


async def _measure(listeners: int | None, seconds: float) -> list[Cell]:
    with tempfile.TemporaryDirectory() as folder:
        store = TimedStore(SQLiteLeaseStore(Path(folder) / "conductor.db"))
        began: list[float] = []
        conductor = Conductor(_noting_jobs(began), store=store, timing=TIMING, log_dir=Path(folder) / "logs")
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            async with _served(conductor, listeners) as told:
                began.clear()
                store.asked_at.clear()
                cpu, at = time.process_time(), time.perf_counter()
                missed = conductor.status().missed_interval_count
                await trio.sleep(seconds)
                share = 100 * (time.process_time() - cpu) / (time.perf_counter() - at)
                missed = conductor.status().missed_interval_count - missed
                ticks, renewals = _lateness(began), _gaps(store.asked_at)
            conductor.request_stop()
    late = spread(ticks) if ticks else (None, None, None)
    gaps = spread(renewals) if renewals else (None, None, None)
    return [len(ticks), missed, *late, len(renewals), *gaps, len(store.terms), share, *told]


async def _measure_flat_out(listeners: int | None, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        jobs = no_op_jobs(Case(FLAT_OUT_RUNNERS, "a", log=True, seconds=seconds))
        conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=folder, autostart=False)

        async def tick() -> bool:
            return (await conductor.run_tick()).decision == "scheduled"

        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            async with _served(conductor, listeners):
                ran = await run_flat_out(tick, seconds)
            conductor.request_stop()
    return ran.seconds / (ran.timed_ticks * FLAT_OUT_RUNNERS) * 1e6


@asynccontextmanager
async def _served(conductor: Conductor, listeners: int | None) -> AsyncGenerator[list[Cell]]:
    """Serve the local API to that many while the block lasts; afterwards the list has what they heard."""
    told: list[Cell] = [None, None]
    if listeners is None:
        yield told
        return
    async with trio.open_nursery() as nursery, listening("http://127.0.0.1:0", None) as server:
        nursery.start_soon(server.run, conductor)
        if listeners:
            process = Listeners(server.urls[0], listeners)
            await process.start()
            yield told
            left = await _listeners_left(server)
            await _stop(server)
            heard = await process.heard()
            told[:] = [f"{heard['fewest']}–{heard['most']}", "yes" if left == listeners else "no"]
        else:
            yield told
            await _stop(server)


async def _listeners_left(server: LocalServer) -> int:
    async with httpx2.AsyncClient(base_url=server.urls[0]) as client:
        return int((await client.get("/v1/status")).json()["event_clients"])


async def _stop(server: LocalServer) -> None:
    # What happened last is to be told first.
    await trio.sleep(0.5)
    server.request_stop()


def _noting_jobs(began: list[float]) -> TimedJobs:
    jobs = TimedJobs(interval=INTERVAL)

    async def notes(_: TickContext) -> None:
        began.append(trio.current_time())

    async def nothing(_: TickContext) -> None:
        """Do what a no-op runner does."""

    jobs.register_runner("renewal.notes", notes)
    for number in range(RUNNERS - 1):
        jobs.register_runner(f"renewal.runner-{number}", nothing)
    return jobs


def _lateness(began: list[float]) -> list[float]:
    # Where the grid lies is not told; some tick was in time.
    places = [moment - round((moment - began[0]) / INTERVAL) * INTERVAL for moment in began]
    return [(place - min(places)) * 1000 for place in places]


def _gaps(asked_at: list[float]) -> list[float]:
    return [(b - a - TIMING.renew_interval) * 1000 for a, b in itertools.pairwise(asked_at)]


OPTION = click.Option(["--seconds"], type=float, help=f"For how long each, {SECONDS:g} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
