"""How long nobody leads: after a crash of the leader (at most ttl + 1 s), and after a clean stop of it.

    python -m benchmarks.failover [--json] [--brief]

Simulated: three nodes with the default timing (a lease of 30 s) on virtual time, the crash or the stop at a random
moment, a store that answers within 10 ms; once with a store that tells its standbys of a release and once with one that
is polled. Real: two processes of the command on one SQLite file and a lease of 2 s; the leader is killed with SIGKILL
or told to stop with SIGTERM at a random moment. A clean handover is counted from the request to stop, with no tick in
flight. The time ends when the next node leads: in the simulation when its term begins, for processes by the time stamp
of its `leader_started`. `two at once`: runs in which the old leader still had a term when the new one's began; there
must be none.
"""

import random
import signal
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import trio

from .cluster import Cluster, simulate
from .measuring import Cell, Table, command, spread
from .processes import StartedCommand, started_command

NODES = 3
RUNS, BRIEF_RUNS = 200, 2
REAL_RUNS, BRIEF_REAL_RUNS = 20, 1
REAL_TTL = 2
# Seconds until the signal: the lease may be at any age then, and the standby anywhere between two looks at it.
MOMENT, BRIEF_MOMENT = (0.5, 1.25), (0.0, 0.1)
STANDBY_PRIORITY = 50
APP = """
from conductor_jobs import TimedJobs

jobs = TimedJobs(interval=60)

@jobs.runner("no-op")
async def no_op(ctx):
    pass
"""


def tables(*, brief: bool) -> list[Table]:
    """Measure simulated and real failovers."""
    if brief:
        return [_simulated(BRIEF_RUNS), _real(BRIEF_REAL_RUNS, [signal.SIGTERM], BRIEF_MOMENT)]
    return [_simulated(RUNS), _real(REAL_RUNS, [signal.SIGKILL, signal.SIGTERM], MOMENT)]


def _simulated(runs: int) -> Table:
    rows: list[list[Cell]] = []
    for watching in (True, False):
        store = "tells of releases" if watching else "polled"
        for what, crash, priority, bound in (
            ("crash", True, None, 31.0),
            ("crash, standbys of lower priority", True, STANDBY_PRIORITY, 31.0),
            ("clean stop", False, None, 0.1 if watching else 1.0),
        ):
            one_run = partial(_one_run, watching=watching, crash=crash, priority=priority)
            took, overlapped = zip(*(simulate(one_run, seed) for seed in range(runs)), strict=True)
            rows.append([what, store, runs, min(took), *spread(took), bound, sum(overlapped)])
    columns = ["what", "store", "runs", "min", "p50", "p99", "max", "bound", "two at once"]
    return Table("Seconds without a leader, simulated, lease of 30 s", columns, rows)


async def _one_run(nursery: trio.Nursery, *, watching: bool, crash: bool, priority: int | None) -> tuple[float, bool]:
    cluster = Cluster(NODES, watching=watching, standby_priority=priority)
    await cluster.start(nursery)
    await trio.sleep(random.uniform(10, 70))
    leader = cluster.leader
    began = trio.current_time()
    if crash:
        leader.wire.partition()
    else:
        leader.conductor.request_stop()
    await cluster.wait_for_another(leader)
    return trio.current_time() - began, leader.conductor.leadership.value is not None


def _real(runs: int, signals: list[signal.Signals], moment: tuple[float, float]) -> Table:
    took: dict[signal.Signals, list[float]] = {number: [] for number in signals}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder, "app.py").write_text(APP)

        def start() -> StartedCommand:
            options = ("--lease-ttl-sec", str(REAL_TTL))
            return stack.enter_context(started_command(Path(folder), "start", "app.py:jobs", *options))

        leader = start()
        leader.wait_for("leader_started")
        for _ in range(runs):
            for number in took:
                standby = start()
                standby.wait_for("started")
                time.sleep(random.uniform(*moment))
                began = time.time()
                leader.popen.send_signal(number)
                leads = datetime.fromisoformat(standby.wait_for("leader_started")["ts"]).timestamp()
                took[number].append(leads - began)
                leader.end()
                leader = standby
    bounds = {signal.SIGKILL: REAL_TTL + 1.0, signal.SIGTERM: 1.0}
    rows: list[list[Cell]] = [
        [number.name, runs, min(times), *spread(times), bounds[number]] for number, times in took.items()
    ]
    columns = ["signal", "runs", "min", "p50", "p99", "max", "bound"]
    return Table(f"Seconds without a leader, processes on SQLite, lease of {REAL_TTL} s", columns, rows)


main = command(tables)

if __name__ == "__main__":
    main()
