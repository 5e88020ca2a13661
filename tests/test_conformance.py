"""`exercise_lease_store`: our stores pass, and a store that is broken in one way is caught by the rule for it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import LeaseStore
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.testing import ConformanceError, FaultyLeaseStore, StoreFault, exercise_lease_store
from conductor_jobs.testing.conformance import rules_of, sentence

from .broken_keepers import BROKEN_KEEPERS
from .broken_stores import BROKEN, Broken, ThatHangs, broken_store, name_of
from .support import NodeStore


async def test_the_memory_store_keeps_every_rule(autojump_clock: MockClock) -> None:
    store = MemoryLeaseStore()
    await exercise_lease_store(lambda: store)


async def test_the_sqlite_store_keeps_every_rule(tmp_path: Path) -> None:
    await exercise_lease_store(lambda: SQLiteLeaseStore(tmp_path / "lease.db"), ttl=0.5, prompt=20.0)


async def test_a_store_that_can_only_keep_leases_keeps_the_rules_of_leases(autojump_clock: MockClock) -> None:
    store = MemoryLeaseStore()
    await exercise_lease_store(lambda: nullcontext(NodeStore(store)))


async def test_a_store_with_delays_keeps_every_rule(autojump_clock: MockClock) -> None:
    store = MemoryLeaseStore()

    @asynccontextmanager
    async def open_store() -> AsyncGenerator[LeaseStore, None]:
        async with FaultyLeaseStore(store) as slow:
            slow.fault = StoreFault(delay_before=0.005, delay_after=0.01)
            yield slow

    await exercise_lease_store(open_store, ttl=2.0)


@pytest.mark.parametrize("broken", [*BROKEN, *BROKEN_KEEPERS], ids=name_of)
async def test_a_broken_store_is_caught_by_the_rule_for_it(broken: Broken, autojump_clock: MockClock) -> None:
    rule, _ = broken
    with broken_store(broken) as open_store, pytest.raises(ConformanceError) as caught:
        await exercise_lease_store(open_store, patience=10.0)
    assert sentence(rule) in caught.value.broken
    for each, observed in caught.value.broken.items():
        assert f"- {each}\n  Observed: {observed}" in str(caught.value)


def test_every_rule_catches_a_broken_store() -> None:
    told_by_others = {"a_renewal_is_confirmed"}
    caught = {rule.__name__ for rule, _ in (*BROKEN, *BROKEN_KEEPERS)} | told_by_others
    assert caught == {rule.__name__ for rule in rules_of(MemoryLeaseStore())}


async def test_a_store_that_hangs_is_left_alone_after_the_first_rule(autojump_clock: MockClock) -> None:
    (hangs,) = [broken for broken in BROKEN if broken[1] is ThatHangs]
    with broken_store(hangs) as open_store, pytest.raises(ConformanceError) as caught:
        await exercise_lease_store(open_store, patience=7.0)
    assert list(caught.value.broken.values()) == ["this took more than 7 s, and nothing else was tried."]
    assert trio.current_time() == pytest.approx(7.0)


async def test_what_cannot_be_opened_is_no_matter_of_conformance() -> None:
    def refuse() -> Any:
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(ConnectionRefusedError):
        await exercise_lease_store(refuse)
    with pytest.raises(TypeError, match="acquire and release"):
        await exercise_lease_store(lambda: nullcontext(object()))  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize("argument", ["ttl", "prompt", "patience"])
async def test_a_bad_argument_is_named(argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        await _exercise_with(lambda: nullcontext(MemoryLeaseStore()), **{argument: 0.0})


async def _exercise_with(open_store: Callable[[], Any], **settings: float) -> None:
    await exercise_lease_store(open_store, **settings)
