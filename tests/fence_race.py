"""Writers in processes of their own against one who takes term after term: what is fenced stays out (I3, I19).

As a program it is one process of writers: `python -m tests.fence_race URL NAME`, until its input ends; then it prints
how many of its claims and cursors were kept, and how many were refused.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import trio

from conductor_jobs import Holder, StaleTerm
from conductor_jobs.runner_records import Claim, to_microseconds
from conductor_jobs.stores import open_store

LEASE = "fenced"
CAMPAIGNER, WRITER = Holder("campaigner", "1"), Holder("writer", "1")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WRITERS = 2
PATIENCE = 120.0


class Kept(NamedTuple):
    """What a store keeps: the term and the number of each runner's latest claim and cursor."""

    claims: dict[str, tuple[int, int]]
    cursors: dict[str, tuple[int, int]]

    def of_terms_before(self, term: int) -> "Kept":
        """Return what older terms have left."""
        return Kept(*({name: each for name, each in kept.items() if each[0] < term} for kept in self))


async def race(url: str, *, terms: int, processes: int = 2) -> Counter[str]:
    """Take term after term, and look, right after each has begun and a little later, what older ones have left.

    Each term lasts until somebody has written in it, and the first until everybody has.
    Returns how many writes were kept, and how many refused.
    """
    names = [f"process-{number}" for number in range(processes)]
    runners = [f"{name} {writer}" for name in names for writer in range(WRITERS)]
    counts: Counter[str] = Counter()
    with ExitStack() as stack, trio.fail_after(PATIENCE):
        running = [stack.enter_context(_writers(url, name)) for name in names]
        async with AsyncExitStack() as opened:
            store: Any = await opened.enter_async_context(open_store(url))
            await _until_all_write(store, runners)
            for _ in range(terms):
                term = (await store.acquire(LEASE, CAMPAIGNER, 600.0)).term
                left = (await _look(store, runners)).of_terms_before(term)
                await trio.sleep(random.uniform(0.0, 0.03))
                later = (await _look(store, runners)).of_terms_before(term)
                # Of what was left, something may have been written over by the new term; nothing may have come to it.
                for one, other in zip(left, later, strict=True):
                    assert other.items() <= one.items(), f"in term {term} a write of an older one was kept"
                while not any(cursor[0] == term for cursor in (await _look(store, runners)).cursors.values()):
                    await trio.sleep(0.002)
        for process in running:
            counts.update(json.loads(process.communicate(timeout=PATIENCE)[0]))
    return counts


@contextmanager
def _writers(url: str, name: str) -> Generator[subprocess.Popen[str], None, None]:
    command = [sys.executable, "-m", "tests.fence_race", url, name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _until_all_write(store: Any, runners: list[str]) -> None:
    await store.acquire(LEASE, CAMPAIGNER, 600.0)
    while len((await _look(store, runners)).cursors) < len(runners):
        await trio.sleep(0.01)


async def _look(store: Any, runners: list[str]) -> Kept:
    claims = {claim.runner: (claim.term, to_microseconds(claim.due_at)) for claim in await store.claims(LEASE)}
    cursors = {runner: await store.load_cursor(LEASE, runner) for runner in runners}
    return Kept(claims, {runner: _numbers(text) for runner, text in cursors.items() if text is not None})


def _numbers(text: str) -> tuple[int, int]:
    term, number = text.split()
    return int(term), int(number)


async def _write_until_told(url: str, name: str) -> None:
    counts: Counter[str] = Counter()
    async with open_store(url) as store, trio.open_nursery() as nursery:
        for writer in range(WRITERS):
            nursery.start_soon(_write, store, f"{name} {writer}", counts)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    print(json.dumps(counts))


async def _write(store: Any, runner: str, counts: Counter[str]) -> None:
    number = 0
    while True:
        # A renewal that is sure to be refused tells the present term.
        term = (await store.acquire(LEASE, WRITER, 600.0, term=0)).term
        try:
            while term:
                number += 1
                await store.claim(LEASE, [Claim(runner, BEGIN + timedelta(seconds=number), term)])
                counts["claims"] += 1
                await store.save_cursor(LEASE, runner, term, f"{term} {number}")
                counts["cursors"] += 1
        except StaleTerm:
            counts["refused"] += 1
        await trio.sleep(0.001)


if __name__ == "__main__":
    trio.run(_write_until_told, sys.argv[1], sys.argv[2])
