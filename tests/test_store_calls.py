"""One call of a store, as the engine makes it: bounded, and with one kind of outcome at a time (I6)."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs.lease import Holder
from conductor_jobs.store_calls import NoAnswer, call_store, problem_text
from conductor_jobs.stores import sqlite_leases
from conductor_jobs.stores.sqlite import SQLiteLeaseStore


class StoreDownError(Exception):
    pass


async def answer() -> str:
    await trio.sleep(2)
    return "granted"


async def fail() -> str:
    raise StoreDownError("no route")


async def fail_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise StoreDownError("connection lost")


async def fail_beside_the_cancellation() -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled)
        await trio.sleep_forever()
    return "never"


async def fail_deep_beside_the_cancellation() -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_beside_the_cancellation)
        nursery.start_soon(fail_beside_the_cancellation)
    return "never"


async def test_an_answer_in_time_is_passed_on(autojump_clock: MockClock) -> None:
    assert await call_store(answer, 5.0) == "granted"
    assert trio.current_time() == 2.0


async def test_a_store_that_hangs_is_given_up_after_the_timeout(autojump_clock: MockClock) -> None:
    with pytest.raises(NoAnswer) as caught:
        await call_store(trio.sleep_forever, 1.5)
    assert str(caught.value) == "the lease store gave no answer within 1.5 s"
    assert trio.current_time() == 1.5


async def test_an_answer_that_a_cancellation_could_not_keep_from_coming_counts(autojump_clock: MockClock) -> None:
    async def answer_shielded() -> None:
        with trio.CancelScope(shield=True):
            await answer()

    await call_store(answer_shielded, 1.0)
    assert trio.current_time() == 2.0


async def test_an_error_of_the_store_comes_out_as_it_is() -> None:
    with pytest.raises(StoreDownError, match="no route"):
        await call_store(fail, 5.0)


async def test_a_group_of_errors_comes_out_as_it_is() -> None:
    group = ExceptionGroup("two", [StoreDownError("a"), StoreDownError("b")])

    async def fail_twice() -> str:
        raise group

    with pytest.raises(ExceptionGroup) as caught:
        await call_store(fail_twice, 5.0)
    assert caught.value is group


async def test_a_disk_that_hangs_is_given_up_although_its_thread_hangs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_is_back = threading.Event()
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    monkeypatch.setattr(sqlite_leases, "boot_time", lambda: disk_is_back.wait(60))
    try:
        with pytest.raises(NoAnswer):
            await call_store(lambda: store.acquire("jobs", Holder("alpha", "1"), 30.0), 0.05)
    finally:
        disk_is_back.set()


@pytest.mark.parametrize("call", [fail_beside_the_cancellation, fail_deep_beside_the_cancellation])
async def test_an_error_beside_the_timeouts_cancellation_is_dropped_for_no_answer(
    autojump_clock: MockClock, call: Callable[[], Awaitable[str]]
) -> None:
    with pytest.raises(NoAnswer):
        await call_store(call, 1.0)
    assert trio.current_time() == 1.0


@pytest.mark.parametrize("call", [fail_beside_the_cancellation, fail_deep_beside_the_cancellation, answer])
async def test_a_cancellation_from_outside_goes_on_and_no_error_leaks_out_beside_it(
    autojump_clock: MockClock, call: Callable[[], Awaitable[str]]
) -> None:
    outcome = "cancelled"
    with trio.move_on_after(1.0) as scope:
        await call_store(call, 5.0)
        outcome = "went on"
    assert scope.cancelled_caught
    assert outcome == "cancelled"
    assert trio.current_time() == 1.0


async def test_an_interrupt_inside_of_the_store_is_no_error_of_the_store() -> None:
    async def interrupted() -> str:
        raise BaseExceptionGroup("nursery", [KeyboardInterrupt(), StoreDownError("connection lost")])

    with pytest.raises(BaseExceptionGroup) as caught:
        await call_store(interrupted, 5.0)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoAnswer("no answer within 5 s"), "no answer within 5 s"),
        (StoreDownError("no route"), "StoreDownError: no route"),
        (KeyError("term"), "KeyError: 'term'"),
        (StoreDownError(), "StoreDownError: StoreDownError"),
        (ExceptionGroup("driver", [StoreDownError("no route")]), "ExceptionGroup: driver: no route"),
    ],
    ids=repr,
)
def test_a_problem_is_told_with_the_type_of_the_error(error: Exception, text: str) -> None:
    assert problem_text(error) == text
