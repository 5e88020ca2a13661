"""What the stores of every server are put through that keep claims, pauses and cursors."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import trio

from conductor_jobs import Holder, StaleTerm
from conductor_jobs.lease import LeaseStore
from conductor_jobs.runner_records import Claim, ClaimResult, ClaimStore, CursorStore, PauseStore, from_microseconds
from conductor_jobs.stores.memory import MemoryLeaseStore

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
DUE = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
#: Neighbours that a float cannot tell apart, or that have one digit more, or another sign.
DUES = [
    *(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), DUE, DUE + timedelta(microseconds=1)),
    *map(from_microseconds, (-1_000_001, -1_000_000, -1, 0, 1, 999_999, 1_000_000, 10**15 - 1, 10**15, 10**17 - 1)),
    *map(from_microseconds, (10**17, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1)),
]
RESULTS: Sequence[ClaimResult | None] = [None, "completed", "failed", "skipped", "paused", "registered", "unknown"]
NAMES = ["a", "b", "b/c", "ü🦊 ", "%2F", '"{}"', "a\nb", "0"]


class RunnerStore(LeaseStore, ClaimStore, PauseStore, CursorStore, Protocol):
    """A lease store that keeps all that there is of runners."""


def many(count: int, term: int, result: ClaimResult | None = None, due_at: datetime = DUE) -> list[Claim]:
    """Claims of one due instant of many runners, ordered by their names."""
    return [Claim(f"runner-{number:05}", due_at, term, result) for number in range(count)]


async def answers_as_the_memory_store_does(store: RunnerStore, name: str, *, seed: int, calls: int, ttl: float) -> None:
    """Make the same calls of both, at random."""
    rng, memory = random.Random(seed), MemoryLeaseStore()
    kept = 0
    for _ in range(calls):
        call = rng.choice([*(claim_some,) * 6, pause_one, *(save_one,) * 2, take_or_release])
        arguments = rng.getstate()
        answers = []
        for each in (store, memory):
            rng.setstate(arguments)
            answers.append(await outcome(call, each, name, rng, ttl))
        assert answers[0] == answers[1], call
        kept += len(answers[0]) if isinstance(answers[0], list) else 0
        assert await store.claims(name) == await memory.claims(name)
        assert await store.paused(name) == await memory.paused(name)
        for runner in NAMES:
            assert await store.load_cursor(name, runner) == await memory.load_cursor(name, runner)
    assert kept


async def outcome(call: Any, store: RunnerStore, *rest: Any) -> Any:
    try:
        return await call(store, *rest)
    except StaleTerm as error:
        return str(error)


async def claim_some(store: RunnerStore, name: str, rng: random.Random, ttl: float) -> list[Claim]:
    term = await some_term(store, name, rng, ttl)
    runners = rng.sample(NAMES, rng.randint(0, len(NAMES)))
    return list(await store.claim(name, [Claim(each, rng.choice(DUES), term, rng.choice(RESULTS)) for each in runners]))


async def pause_one(store: RunnerStore, name: str, rng: random.Random, ttl: float) -> None:
    await store.set_paused(name, rng.choice(NAMES), rng.random() < 0.5)


async def save_one(store: RunnerStore, name: str, rng: random.Random, ttl: float) -> None:
    term = await some_term(store, name, rng, ttl)
    await store.save_cursor(name, rng.choice(NAMES), term, rng.choice(["", "7", "ü🦊\n\\", "x" * 1000]))


async def take_or_release(store: RunnerStore, name: str, rng: random.Random, ttl: float) -> Any:
    holder = Holder("alpha", rng.choice("1234567"))
    if rng.random() < 0.3:
        return await store.release(name, holder)
    return (await store.acquire(name, holder, ttl)).is_leader


async def some_term(store: RunnerStore, name: str, rng: random.Random, ttl: float) -> int:
    """The present one, mostly, or one beside it."""
    present = (await store.acquire(name, Holder("nobody", "1"), ttl, term=1)).term
    return max(1, present + rng.choice([0] * 8 + [-1, 1]))


async def writes_of_a_superseded_term_are_refused(
    leader: RunnerStore, other: RunnerStore, name: str, *, rounds: int, claims: int, ttl: float
) -> None:
    """A campaign, or a release, against claims and cursors under the term that it ends, again and again."""
    holder = ALPHA
    for number in range(rounds):
        term = (await other.acquire(name, holder, ttl)).term
        async with trio.open_nursery() as nursery:
            told: list[Claim | str] = []
            nursery.start_soon(claim_until_stale, leader, name, term, claims, told)
            nursery.start_soon(save_until_stale, leader, name, term, told)
            await trio.sleep(random.Random(number).uniform(0.0, 0.02))
            if number % 2:
                term = (await other.acquire(name, holder, ttl)).term
            else:
                assert await other.release(name, holder)
                holder = Holder("alpha", f"after {number}")
            # Its end has been confirmed: from here on nothing of it may be kept.
            then = await kept(other, name)
        assert await kept(other, name) == then
        by_runner = {claim.runner: claim for claim in then[0]}
        for each in told:
            # What was told to be kept was kept before.
            if isinstance(each, Claim):
                assert by_runner[each.runner].due_at >= each.due_at
        assert then[1] is None or int(then[1]) >= max((int(each) for each in told if isinstance(each, str)), default=0)


async def kept(store: RunnerStore, name: str) -> tuple[Sequence[Claim], str | None]:
    return await store.claims(name), await store.load_cursor(name, "runner-00000")


async def claim_until_stale(store: RunnerStore, name: str, term: int, count: int, told: list[Claim | str]) -> None:
    due_at = DUE + term * 1000 * SECOND
    try:
        while True:
            due_at += SECOND
            told.extend(await store.claim(name, many(count, term, due_at=due_at)))
    except StaleTerm:
        pass


async def save_until_stale(store: RunnerStore, name: str, term: int, told: list[Claim | str]) -> None:
    number = term * 1000
    try:
        while True:
            number += 1
            await store.save_cursor(name, "runner-00000", term, str(number))
            told.append(str(number))
    except StaleTerm:
        pass
