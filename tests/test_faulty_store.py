"""`FaultyLeaseStore`: each fault does what it says, to the caller and to the store."""

import math
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseGrant
from conductor_jobs.lease import keeps_nodes, watches_releases
from conductor_jobs.runner_records import Claim, keeps_claims, keeps_cursors, keeps_pauses
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import HANG, LOST_ANSWER, FaultyLeaseStore, StoreFault

from .support import NodeStore

A = Holder("a", "1")
B = Holder("b", "1")


async def stands(store: MemoryLeaseStore) -> LeaseGrant:
    """Ask how the lease stands, as somebody whom the store refuses at any rate."""
    await store.release("lease", B)
    return await store.acquire("lease", B, 30.0)


async def test_without_a_fault_everything_passes(autojump_clock: MockClock) -> None:
    store = FaultyLeaseStore(MemoryLeaseStore())
    assert (await store.acquire("lease", A, 30.0)).is_leader
    assert (await store.acquire("lease", A, 30.0, term=1)).term == 1
    assert await store.release("lease", A)
    assert [call for _, call in store.calls] == ["campaign", "renew", "release"]


async def test_a_delay_before_is_a_call_that_changes_nothing_when_given_up(autojump_clock: MockClock) -> None:
    inner = MemoryLeaseStore()
    store = FaultyLeaseStore(inner)
    store.fault = StoreFault(delay_before=2.0)
    began = trio.current_time()
    with trio.move_on_after(1.0) as given_up:
        await store.acquire("lease", A, 30.0)
    assert given_up.cancelled_caught
    assert (await stands(inner)).term == 0
    await store.acquire("lease", A, 30.0)
    assert trio.current_time() == began + 3.0


@pytest.mark.parametrize("fault", [LOST_ANSWER, StoreFault(delay_after=5.0)])
async def test_a_lost_answer_is_a_call_that_was_carried_out(fault: StoreFault, autojump_clock: MockClock) -> None:
    inner = MemoryLeaseStore()
    store = FaultyLeaseStore(inner)
    store.fault = fault
    with trio.move_on_after(1.0) as given_up:
        await store.acquire("lease", A, 30.0)
    assert given_up.cancelled_caught
    assert (await stands(inner)).holder_id == "a"


async def test_an_error_comes_instead_and_a_broken_answer_after(autojump_clock: MockClock) -> None:
    inner = MemoryLeaseStore()
    store = FaultyLeaseStore(inner)
    store.fault = StoreFault(error=OSError("away"))
    with pytest.raises(OSError, match="away"):
        await store.acquire("lease", A, 30.0)
    assert (await stands(inner)).term == 0
    store.fault = StoreFault(broken=OSError("cut"))
    with pytest.raises(OSError, match="cut"):
        await store.acquire("lease", A, 30.0)
    assert (await stands(inner)).holder_id == "a"


async def test_a_late_write_arrives_after_its_caller_gave_up(autojump_clock: MockClock) -> None:
    inner = MemoryLeaseStore()
    async with FaultyLeaseStore(inner) as store:
        store.fault = StoreFault(late=10.0)
        with trio.move_on_after(1.0):
            await store.acquire("lease", A, 30.0)
        assert (await stands(inner)).term == 0
        await trio.sleep(9.5)
        assert (await stands(inner)).holder_id == "a"


async def test_a_late_write_without_a_nursery_is_refused() -> None:
    store = FaultyLeaseStore(MemoryLeaseStore())
    store.fault = StoreFault(late=1.0)
    with pytest.raises(RuntimeError, match="async with"):
        await store.acquire("lease", A, 30.0)


async def test_a_partition_cuts_off_one_node_until_it_heals(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    inner = MemoryLeaseStore()
    cut_off, other = FaultyLeaseStore(inner), FaultyLeaseStore(inner)
    cut_off.partition()
    reset = trio.Event()

    async def ask() -> None:
        with pytest.raises(ConnectionResetError):
            await cut_off.acquire("lease", A, 30.0)
        reset.set()

    nursery.start_soon(ask)
    await trio.sleep(60)
    assert not reset.is_set()
    assert (await other.acquire("lease", B, 30.0)).is_leader
    cut_off.heal()
    await reset.wait()
    assert not (await cut_off.acquire("lease", A, 30.0)).is_leader


async def test_only_the_calls_that_a_function_picks_fail(autojump_clock: MockClock) -> None:
    store = FaultyLeaseStore(MemoryLeaseStore())
    store.fault = lambda call: HANG if call == "release" else None
    assert (await store.acquire("lease", A, 30.0)).is_leader
    with trio.move_on_after(5.0) as lost:
        await store.release("lease", A)
    assert lost.cancelled_caught


@pytest.mark.parametrize("rate", [0.5, 2.0])
async def test_a_clock_that_runs_wrong_moves_the_expiry_and_not_what_is_told(
    rate: float, autojump_clock: MockClock
) -> None:
    inner = MemoryLeaseStore()
    store = FaultyLeaseStore(inner, clock_rate=rate)
    grant = await store.acquire("lease", A, 30.0)
    assert grant.expires_in == 30.0
    await trio.sleep(30.0 / rate - 0.001)
    assert not (await inner.acquire("lease", B, 30.0)).is_leader
    await trio.sleep(0.002)
    assert (await inner.acquire("lease", B, 30.0)).is_leader


def test_it_can_do_what_its_store_can_do() -> None:
    whole, poor = FaultyLeaseStore(MemoryLeaseStore()), FaultyLeaseStore(NodeStore(MemoryLeaseStore()))
    for can in (watches_releases, keeps_nodes, keeps_claims, keeps_pauses, keeps_cursors):
        assert can(whole)
        assert not can(poor)
    mute = FaultyLeaseStore(MemoryLeaseStore(), watching=False)
    assert not any(hasattr(mute, name) for name in ("wait_released", "wait_begun"))
    assert keeps_nodes(mute)
    assert keeps_claims(mute)


async def test_it_passes_on_what_is_kept_of_runners(autojump_clock: MockClock) -> None:
    store = FaultyLeaseStore(MemoryLeaseStore())
    await store.acquire("lease", A, 30.0)
    claim = Claim("report", datetime(2026, 1, 1, tzinfo=UTC), 1)
    assert await store.claim("lease", [claim]) == [claim] == await store.claims("lease")
    await store.set_paused("lease", "report", True)
    assert await store.paused("lease") == {"report"}
    await store.save_cursor("lease", "report", 1, "message:7")
    assert await store.load_cursor("lease", "report") == "message:7"
    asked = ["claim", "claims", "set_paused", "paused", "save_cursor", "load_cursor"]
    assert [call for _, call in store.calls] == ["campaign", *asked]


@pytest.mark.parametrize("fault", [HANG, LOST_ANSWER], ids=["hangs", "answer lost"])
async def test_a_claim_that_hangs_is_not_kept_and_one_whose_answer_is_lost_is(
    fault: StoreFault, autojump_clock: MockClock
) -> None:
    inner = MemoryLeaseStore()
    store = FaultyLeaseStore(inner)
    await store.acquire("lease", A, 30.0)
    claim = Claim("report", datetime(2026, 1, 1, tzinfo=UTC), 1)
    store.fault = lambda call: fault if call == "claim" else None
    with trio.move_on_after(5.0) as given_up:
        await store.claim("lease", [claim])
    assert given_up.cancelled_caught
    assert await inner.claims("lease") == ([] if fault is HANG else [claim])


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_clock_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="clock_rate"):
        FaultyLeaseStore(MemoryLeaseStore(), clock_rate=rate)


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(TypeError, match="acquire and release"):
        FaultyLeaseStore(object())  # type: ignore[arg-type] # what is tested
