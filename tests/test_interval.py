"""The interval timer: one tick an instant whatever floats make of it, and none once a stop has begun (I13, I14)."""

import math

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import TickContext

from .support import make_conductor, make_jobs

# Instants of this grid, as floats, divide to a little less than their own number.
START, INTERVAL = 1 / 3, 0.1
ROUNDED_DOWN = [n for n in range(1, 100) if math.floor((START + n * INTERVAL - START) / INTERVAL) < n]


async def test_no_instant_comes_twice_though_floats_round_it_down(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    assert ROUNDED_DOWN
    ran: list[float] = []

    async def notes(ctx: TickContext) -> None:
        if ran[-1:] == [trio.current_time()]:
            conductor.request_stop()
        ran.append(trio.current_time())

    autojump_clock.jump(START)
    conductor, journal = make_conductor(make_jobs(notes, interval=INTERVAL))
    await nursery.start(conductor.run)
    await trio.sleep(99.5 * INTERVAL)
    await conductor.stop()
    assert ran == pytest.approx([START + n * INTERVAL for n in range(1, 100)])
    assert journal.all("tick_skipped_busy") == []
    assert conductor.status().missed_interval_count == 0


async def test_a_drain_that_lasts_for_intervals_asks_for_no_tick_and_misses_none(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def sleeps(ctx: TickContext) -> None:
        await trio.sleep(18)

    conductor, journal = make_conductor(make_jobs(sleeps, interval=5))
    start = trio.current_time()
    await nursery.start(conductor.run)
    await trio.sleep(6)
    await conductor.stop()
    assert trio.current_time() == start + 5 + 18
    assert len(journal.all("tick_started")) == 1
    assert [stage for stage in journal.stages() if "skipped" in stage or "missed" in stage] == []
