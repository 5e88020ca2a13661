"""One process of the torture: a conductor whose leader's work is of every kind, and notes each effect that it has.

    python -m tests.torture.node FOLDER LIFE

Each effect says when the loop had last turned. A thread has no loop: for it that is the moment before its last
`check_lease()` that did not raise.
"""

import contextlib
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import final

import trio

from conductor_jobs import Conductor, LeaseLost, LeaseTiming, Node, Term, TickContext, TimedJobs
from conductor_jobs.clocks import boot_time
from conductor_jobs.stores import open_store
from conductor_jobs.testing.effects import LoopTurns

from .broken import break_engine
from .evidence import Folder, Hand, Setup

_STEP = 0.002
# Of the margin: what a cleanup leaves of it is for the machine.
_CLEANUP = 0.6


@final
class Worker:
    """Leader's work of every kind, as runners of a tick and beside it."""

    def __init__(self, setup: Setup, hand: Hand, turns: LoopTurns) -> None:
        self._hand = hand
        self._turns = turns
        self._longest = 2 * setup.drain_timeout
        self._cleanup = _CLEANUP * LeaseTiming(setup.ttl).margin

    def jobs(self) -> TimedJobs:
        jobs = TimedJobs(interval=0.2)
        jobs.register_runner("steady", self._steady)
        jobs.register_runner("clings", self._clings)
        jobs.register_runner("blocks", self._blocks)
        jobs.register_runner("thread", self._in_thread)
        return jobs

    async def serve(self, term: Term) -> None:
        """Work for the whole term, as a leader-only service."""
        while True:
            self._act(term.number, "service")
            await trio.sleep(_STEP)

    async def ask_to_work(self, conductor: Conductor) -> None:
        """Work now and then beside the ticks, as an application's own task."""
        while conductor.started:
            with contextlib.suppress(LeaseLost):
                await conductor.run_as_leader(self._visit)
            await trio.sleep(0.05)

    async def _visit(self, term: Term) -> None:
        for _ in range(50):
            self._act(term.number, "visitor")
            await trio.sleep(_STEP)

    async def _steady(self, ctx: TickContext) -> None:
        # Now and then for longer than a drain waits.
        seconds = random.choice([*(0.1, 0.2, 0.4) * 3, self._longest])
        with trio.move_on_after(seconds):
            while True:
                self._act(ctx.term, "steady")
                await trio.sleep(_STEP)

    async def _clings(self, ctx: TickContext) -> None:
        deadline = 0.0
        try:
            with trio.move_on_after(random.uniform(0.05, 0.3)):
                while True:
                    deadline = boot_time() + ctx.lease_remaining()
                    self._act(ctx.term, "clings")
                    await trio.sleep(_STEP)
        except trio.Cancelled:
            # The margin is counted from the deadline, not from when a process that was frozen gets here.
            until = min(deadline, boot_time()) + self._cleanup
            with trio.CancelScope(shield=True):
                while boot_time() < until:
                    self._act(ctx.term, "clings, cleaning up")
                    await trio.sleep(_STEP)
            raise

    async def _blocks(self, ctx: TickContext) -> None:
        for _ in range(2):
            time.sleep(random.uniform(0.05, 0.3))
            self._act(ctx.term, "blocks")
            await trio.lowlevel.checkpoint()

    def _in_thread(self, ctx: TickContext) -> None:
        for _ in range(50):
            asked_at = boot_time()
            ctx.check_lease()
            self._hand.act(ctx.term, "thread", asked_at)
            time.sleep(_STEP)

    def _act(self, term: int, by: str) -> None:
        self._hand.act(term, by, self._turns.turned_at)


async def run(folder: Folder, life: str) -> None:
    """Lead or stand by until SIGTERM; prints a line once that can be sent."""
    setup = folder.setup()
    turns = LoopTurns(boot_time)
    trio.lowlevel.add_instrument(turns)
    worker = Worker(setup, Hand(folder.effects, life), turns)
    async with open_store(setup.store or folder.own_store) as store, trio.open_nursery() as nursery:
        conductor = Conductor(
            worker.jobs(),
            store=store,
            lease_name=setup.lease_name,
            node=Node(life.partition(".")[0], version=life),
            timing=LeaseTiming(setup.ttl),
            log_dir=folder.journal,
            drain_timeout=setup.drain_timeout,
        )
        await nursery.start(conductor.run_until_signalled)
        nursery.start_soon(conductor.run_while_leader, worker.serve)
        nursery.start_soon(worker.ask_to_work, conductor)
        await trio.lowlevel.checkpoint()
        print("ready", flush=True)


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that came about."""
    # Standard input is a pipe that nobody writes to: it ends with the process that holds its other end.
    os.read(0, 1)
    os._exit(1)


def main(path: str, life: str) -> None:
    folder = Folder(Path(path))
    threading.Thread(target=end_with_parent, daemon=True).start()
    if broken := folder.setup().broken:
        break_engine(broken)
    trio.run(run, folder, life)


if __name__ == "__main__":
    main(*sys.argv[1:])
