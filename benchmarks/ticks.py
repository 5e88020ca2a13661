"""How long one runner's execution takes, whole ticks of N no-op runners asked for one after the other.

    python -m benchmarks.ticks [N] [a|b] [0|1] [SECONDS]

`a`: each runner returns a result; `b`: each logs an entry of its own besides. `1`: journal on, in a temporary
folder; `0`: off. Prints one line of JSON: `us_run` is microseconds per runner execution, `ok` says that every journal
line was found, `bad` counts ticks that were not `scheduled`. Machines drift: compare only what ran side by side.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import trio

from conductor_jobs import Conductor, RunnerResult, TickContext, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

FRAME = ("started", "leader_started", "stopping", "leader_ended", "lease_released", "stopped")


async def returns(_: TickContext) -> RunnerResult:
    """Do what variant `a` does."""
    return RunnerResult(details={"projected_messages": 0})


async def logs(ctx: TickContext) -> RunnerResult:
    """Do what variant `b` does."""
    ctx.log("scan_window", result="ok", details={"cursor": "message:1"})
    return RunnerResult(details={"projected_messages": 0})


async def measure(runners: int, variant: str, log_dir: Path | None, seconds: float) -> dict[str, object]:
    """Run ticks for about `seconds`, after a warm-up."""
    jobs = TimedJobs(interval=5, max_tasks_per_tick=8, settle_delay=12)
    for number in range(runners):
        jobs.register_runner(f"renewal.runner-{number}", logs if variant == "b" else returns)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=log_dir, autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        warm = await _ticks(conductor, min(0.5, seconds / 4))
        began = time.perf_counter()
        counted = await _ticks(conductor, seconds)
        took = time.perf_counter() - began
        conductor.request_stop()
    lines = 0 if log_dir is None else sum(file.read_bytes().count(b"\n") for file in log_dir.iterdir())
    ticks = warm[0] + counted[0]
    expected = len(FRAME) + ticks * (2 + runners * (3 if variant == "b" else 2))
    return {
        "who": "ours",
        "N": runners,
        "variant": variant,
        "us_run": took / (counted[0] * runners) * 1e6,
        "lines": lines,
        "ok": log_dir is None or lines == expected,
        "bad": warm[1] + counted[1],
    }


async def _ticks(conductor: Conductor, seconds: float) -> tuple[int, int]:
    end = time.perf_counter() + seconds
    ticks = bad = 0
    while time.perf_counter() < end:
        bad += (await conductor.run_tick()).decision != "scheduled"
        ticks += 1
    return ticks, bad


def main() -> None:
    """Read the arguments and print the measurement."""
    runners, variant, log, seconds = [*sys.argv[1:], *("100", "a", "1", "1")[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        log_dir = Path(folder) if log == "1" else None
        print(json.dumps(trio.run(measure, int(runners), variant, log_dir, float(seconds))))


if __name__ == "__main__":
    main()
