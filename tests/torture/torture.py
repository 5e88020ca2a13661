"""The rounds of a torture, from the first start of the nodes to the last judgement."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import final

import msgspec
import trio

from conductor_jobs import JournalEntry, read_journal
from conductor_jobs.clocks import boot_time
from conductor_jobs.journal import LEASE
from conductor_jobs.journal_format import encode_line
from conductor_jobs.testing.effects import Effect, judge_effects
from conductor_jobs.verify import verify
from conductor_jobs.violations import Violation

from .cluster import Process, processes, wait_until
from .evidence import Deed, DeedKind, EffectsReader, Folder, Setup
from .faults import Fault, Round
from .judging import judge, judge_deeds

# Shown before and after a violation: so many effects, and so many seconds of the journals.
_EFFECTS_AROUND = 8
_LEASE_AROUND = 5.0
_TICKS_AROUND = 0.5


@final
class Torture:
    """One torture of a cluster; `folder` keeps all the evidence."""

    def __init__(self, setup: Setup, folder: Folder) -> None:
        self.setup = setup
        self.folder = folder
        self.rounds_done: int = 0
        self._recent: list[Effect] = []
        self._reader = EffectsReader(folder.effects)

    async def run(
        self, plan: Sequence[Round], each_round: Callable[[int], None] = lambda number: None
    ) -> list[Violation]:
        """Go through the rounds until one shows a violation, drain every node, and return all violations.

        Cancelling, or any error, leaves no process behind.
        """
        self.folder.make(self.setup)
        with processes(self.setup.nodes, self.folder, self._note) as cluster:
            await self._heal(cluster)
            for planned in plan:
                if self._seen_broken():
                    break
                self.rounds_done += 1
                await self._strike(cluster, planned)
                await self._heal(cluster)
                each_round(self.rounds_done)
            async with trio.open_nursery() as nursery:
                for process in cluster:
                    nursery.start_soon(process.stop)
        return [*judge(self.folder), *verify([self.folder.journal]).violations]

    async def _strike(self, cluster: Sequence[Process], planned: Round) -> None:
        await trio.sleep(planned.pause)
        self._look()
        victims: list[int] = []
        async with trio.open_nursery() as nursery:
            for fault in planned.faults:
                victims.append(self._victim(cluster, fault, victims))
                nursery.start_soon(cluster[victims[-1]].strike, fault)

    def _victim(self, cluster: Sequence[Process], fault: Fault, taken: Sequence[int]) -> int:
        leader = max(self._recent, key=lambda effect: effect.at).life if self._recent else ""
        leads = next((number for number, process in enumerate(cluster) if process.life == leader), 0)
        chosen = leads if fault.node is None else fault.node
        while chosen in taken:
            chosen = (chosen + 1) % len(cluster)
        return chosen

    async def _heal(self, cluster: Sequence[Process]) -> None:
        async with trio.open_nursery() as nursery:
            for process in cluster:
                nursery.start_soon(process.heal)
        healed_at = boot_time()
        if not await wait_until(lambda: any(effect.at > healed_at for effect in self._look())):
            self._note("leaderless", "", None)

    def _look(self) -> list[Effect]:
        fresh = list(self._reader.fresh())
        self._recent += fresh
        return fresh

    def _seen_broken(self) -> bool:
        """Judge what is new; all of it is judged at the end."""
        self._look()
        found = [*judge_effects(self._recent), *judge_deeds(self.folder.deeds(), self.setup.stop_bound)]
        # Enough to know every term of the next round by.
        self._recent = self._recent[-5000:]
        return bool(found)

    def _note(self, what: DeedKind, life: str, code: int | None) -> None:
        self.folder.note(Deed(boot_time(), self.rounds_done, what, life, code))


def summary(torture: Torture) -> Iterator[str]:
    """Yield lines that say how much was done, and to whom."""
    effects = list(EffectsReader(torture.folder.effects).fresh())
    kinds = Counter(deed.what for deed in torture.folder.deeds())
    faults = ", ".join(f"{kinds[kind]} {kind}" for kind in ("kill", "restart", "freeze", "hiccup", "drain"))
    yield f"{torture.rounds_done} rounds: {faults}; {kinds['started']} lives"
    yield f"{len(effects)} effects in {len({effect.term for effect in effects})} terms"


def around(folder: Folder, violation: Violation) -> Iterator[str]:
    """Yield the effects and the journal lines that lie around a violation, if it has a moment."""
    try:
        moment = float(violation.at)
    except ValueError:
        return
    effects = sorted(map(msgspec.json.decode, folder.effects.read_bytes().splitlines()), key=itemgetter("at"))
    place = bisect_left(effects, moment, key=itemgetter("at"))
    yield from map(str, effects[max(0, place - _EFFECTS_AROUND) : place + _EFFECTS_AROUND])
    unix = moment - boot_time() + time.time()
    for file in sorted(folder.journal.glob("*.jsonl")):
        for entry in read_journal(file):
            if _is_near(entry, unix):
                yield f"{file.name}: {encode_line(entry).decode().rstrip()}"


def _is_near(entry: JournalEntry, unix: float) -> bool:
    away = abs(datetime.fromisoformat(entry.ts).timestamp() - unix)
    # Who led is of interest for longer; the ticks of standbys say nothing, and often.
    return away < (_LEASE_AROUND if entry.runner == LEASE else _TICKS_AROUND) and entry.result != "skipped_not_leader"
