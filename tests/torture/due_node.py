"""One process of the torture at due instants: a conductor whose runners have schedules, and a ledger that they write.

python -m tests.torture.due_node FOLDER LIFE
"""

import random
import sys
import threading
from pathlib import Path

import trio

from conductor_jobs import Conductor, LeaseTiming, Node, TickContext, TimedJobs
from conductor_jobs.stores import open_store

from .evidence import Folder
from .ledger import SCHEDULED, LedgerHand
from .node import end_with_parent


def jobs(hand: LedgerHand) -> TimedJobs:
    """Return the runners: each of their runs is a line of the ledger, at its beginning."""

    async def run(ctx: TickContext) -> None:
        assert ctx.due_at is not None
        hand.enter(ctx.runner, ctx.due_at, ctx.term)
        # Some have ended at the next due instant, some have not.
        await trio.sleep(random.choice((0.0, 0.05, 0.5, 1.2)))

    registered = TimedJobs(interval=1.0)
    for scheduled in SCHEDULED.values():
        registered.register_runner(
            scheduled.name,
            run,
            schedule=scheduled.schedule,
            misfire=scheduled.misfire,
            on_crash=scheduled.on_crash,
        )
    return registered


async def run(folder: Folder, life: str) -> None:
    """Lead or stand by until SIGTERM; prints a line once that can be sent."""
    setup = folder.setup()
    async with open_store(setup.store or folder.own_store) as store:
        conductor = Conductor(
            jobs(LedgerHand(folder.ledger, life)),
            store=store,
            lease_name=setup.lease_name,
            node=Node(life.partition(".")[0], version=life),
            timing=LeaseTiming(setup.ttl),
            log_dir=folder.journal,
            drain_timeout=setup.drain_timeout,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run_until_signalled)
            print("ready", flush=True)


def main(path: str, life: str) -> None:
    """Run a life until it is told to stop, or is killed."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    trio.run(run, Folder(Path(path)), life)


if __name__ == "__main__":
    main(*sys.argv[1:])
