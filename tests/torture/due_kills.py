"""Kill -9 of the leader at the due second, again and again; afterwards the ledger is exact."""

import random
import time
from collections.abc import Callable
from typing import final

import trio

from conductor_jobs import read_journal
from conductor_jobs.clocks import boot_time
from conductor_jobs.verify import verify
from conductor_jobs.violations import Violation

from .cluster import Process, processes, wait_until
from .evidence import Deed, DeedKind, Folder, Setup
from .faults import Fault
from .judging import judge_deeds
from .ledger import judge_ledger, runs

# Seconds around the due instant in which the kill falls, most of them while instants are claimed and runs begin.
_AROUND = (-0.005, 0.03)


@final
class DueKills:
    """So many kills of one cluster; `folder` keeps the evidence."""

    def __init__(self, setup: Setup, folder: Folder) -> None:
        self._setup = setup
        self._folder = folder
        self._chance = random.Random(setup.seed)
        self._kill = 0

    async def run(self, kills: int, each: Callable[[int], None] = lambda number: None) -> list[Violation]:
        """Kill the leader so many times, drain every node, and return all violations."""
        self._folder.make(self._setup)
        with processes(self._setup.nodes, self._folder, self._note, "tests.torture.due_node") as cluster:
            async with trio.open_nursery() as nursery:
                for process in cluster:
                    nursery.start_soon(process.heal)
            for number in range(1, kills + 1):
                self._kill = number
                await self._until_runs_come()
                await self._until_due()
                await self._leader(cluster).strike(Fault("restart", None, 0.0))
                each(number)
            await self._until_runs_come()
            async with trio.open_nursery() as nursery:
                for process in cluster:
                    nursery.start_soon(process.stop)
        return self._judge()

    async def _until_runs_come(self) -> None:
        # Two instants by one leader: what its term found has been dealt with by then.
        entered = len(runs(self._folder.ledger))
        if not await wait_until(lambda: len({run.due_at for run in runs(self._folder.ledger)[entered:]}) > 1):
            self._note("leaderless", "", None)

    async def _until_due(self) -> None:
        await trio.sleep(max(0.0, -time.time() % 1.0 + self._chance.uniform(*_AROUND)))

    def _leader(self, cluster: list[Process]) -> Process:
        life = runs(self._folder.ledger)[-1].life
        return next((process for process in cluster if process.life == life), cluster[0])

    def _judge(self) -> list[Violation]:
        folder = self._folder
        entries = [entry for file in sorted(folder.journal.glob("*.jsonl")) for entry in read_journal(file)]
        return [
            *judge_ledger(runs(folder.ledger), entries),
            *judge_deeds(folder.deeds(), self._setup.stop_bound),
            *verify([folder.journal]).violations,
        ]

    def _note(self, what: DeedKind, life: str, code: int | None) -> None:
        self._folder.note(Deed(boot_time(), self._kill, what, life, code))
