"""Runners with schedules: each due instant is claimed and run once, or accounted for by its policy (I19)."""

from typing import Any

import msgspec
import pytest
import trio

from conductor_jobs import Cron, Every, Holder, TickContext, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.runner_records import Claim
from conductor_jobs.testing import HANG, LOST_ANSWER, StoreFault

from .scheduled import LEASE, NOON, Cluster, Ledger, at, crash, iso, jobs_of
from .support import NodeStore, make_conductor


async def test_a_run_comes_at_each_due_instant_and_is_told_which(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(5), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(190)
    assert ledger.runs == [(60, "a", 60), (120, "a", 120), (180, "a", 180)]
    started = cluster.entries("runner_started", "report")[0]
    assert started.details["due_at"] == iso(60)
    assert started.details["trigger"] == "schedule"
    assert started.details["group"] == "report"
    completed = cluster.entries("tick_completed")[0]
    assert (completed.result, completed.details["due_at"], completed.details["runner_count"]) == (
        "scheduled",
        iso(60),
        1,
    )
    await conductor.stop()


async def test_each_instant_is_claimed_before_its_run_and_ended_after_it(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    seen: list[Any] = []

    async def run(ctx: TickContext) -> None:
        seen.extend(await cluster.store.claims(LEASE))
        if ctx.due_at == at(120):
            raise ValueError("no printer")

    conductor, _ = cluster.node(jobs_of("report", run, Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(1)
    assert await cluster.store.claims(LEASE) == [Claim("report", NOON, 1, "registered")]
    await trio.sleep(60)
    assert seen == [Claim("report", at(60), 1)]
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1, "completed")]
    await trio.sleep(60)
    assert await cluster.store.claims(LEASE) == [Claim("report", at(120), 1, "failed")]
    await conductor.stop()


async def test_a_slow_runner_delays_no_other_and_no_tick(autojump_clock: Any, nursery: Any) -> None:
    cluster, slow, quick, plain = Cluster(), Ledger(), Ledger(), Ledger()
    jobs = TimedJobs(interval=100)
    jobs.register_runner("slow", slow.runner(1000), schedule=Every(60))
    jobs.register_runner("quick", quick.runner(), schedule=Every(60))
    jobs.register_runner("plain", plain.runner())
    conductor, _ = cluster.node(jobs, drain_timeout=0)
    await nursery.start(conductor.run)
    await trio.sleep(250)
    assert slow.due == [60]
    assert quick.due == [60, 120, 180, 240]
    assert [when for when, _, _ in plain.runs] == [100, 200]
    assert conductor.status().runs_in_flight == ("slow",)
    await conductor.stop()


@pytest.mark.parametrize(
    ("misfire", "runs", "stage", "facts"),
    [
        ("run_once", [(160, 120), (180, 180)], "runner_misfired", {"due_count": 1, "run_due_at": iso(120)}),
        ("skip", [(180, 180)], "runner_skipped", {"due_count": 1}),
        ("run_all", [(160, 120), (180, 180)], "runner_misfired", {"due_count": 1, "run_due_at": iso(120)}),
    ],
)
async def test_what_a_slow_run_made_late_is_a_misfire(
    autojump_clock: Any, nursery: Any, misfire: Any, runs: Any, stage: str, facts: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    seconds = iter((100.0, 0.0, 0.0))

    async def run(ctx: TickContext) -> None:
        await ledger.runner(next(seconds))(ctx)

    conductor, _ = cluster.node(jobs_of("report", run, Every(60), misfire=misfire))
    await nursery.start(conductor.run)
    await trio.sleep(200)
    assert [(when, due) for when, _, due in ledger.runs] == [(60, 60), *runs]
    (entry,) = cluster.entries(stage, "report")
    assert entry.result == ("misfire" if misfire == "skip" else misfire)
    assert entry.details == {"first_due_at": iso(120), "last_due_at": iso(120), **facts}
    await conductor.stop()


@pytest.mark.parametrize(
    ("misfire", "due"),
    [("run_once", [60, 600, 660]), ("skip", [60, 660]), ("run_all", [60, *range(120, 661, 60)])],
)
async def test_a_new_leader_does_about_the_gap_what_the_policy_says(
    autojump_clock: Any, nursery: Any, misfire: Any, due: list[float]
) -> None:
    cluster, ledger = Cluster(), Ledger()
    first, its_store = cluster.node(jobs_of("report", ledger.runner(), Every(60), misfire=misfire), "a")
    await nursery.start(first.run)
    await trio.sleep(100)
    await crash(first, its_store)
    await trio.sleep(630 - trio.current_time())
    second, _ = cluster.node(jobs_of("report", ledger.runner(), Every(60), misfire=misfire), "b")
    await nursery.start(second.run)
    await trio.sleep(60)
    assert ledger.due == due
    (entry,) = cluster.entries("runner_skipped" if misfire == "skip" else "runner_misfired", "report")
    assert (entry.details["first_due_at"], entry.details["last_due_at"]) == (iso(120), iso(600))
    assert entry.details["due_count"] == 9
    await second.stop()


async def test_an_instant_that_falls_into_a_failover_is_run_by_the_next_leader(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    nodes = [cluster.node(jobs_of("report", ledger.runner(), Cron("0 * * * *")), name) for name in "ab"]
    for conductor, _ in nodes:
        await nursery.start(conductor.run)
    # Nobody has run anything yet: the next leader has to know since when.
    await trio.sleep(3599.5)
    await crash(*nodes[0])
    await trio.sleep(60)
    assert [(who, due) for _, who, due in ledger.runs] == [("b", 3600)]
    await nodes[1][0].stop()


@pytest.mark.parametrize(("on_crash", "due"), [("report", [60, 180]), ("rerun", [60, 60, 180])])
async def test_what_a_dead_term_claimed_and_never_ended_is_reported_or_run_again(
    autojump_clock: Any, nursery: Any, on_crash: Any, due: list[float]
) -> None:
    cluster, ledger = Cluster(), Ledger()
    first, its_store = cluster.node(jobs_of("report", ledger.runner(30), Every(60), on_crash=on_crash), "a")
    await nursery.start(first.run)
    await trio.sleep(70)
    await crash(first, its_store)
    second, _ = cluster.node(jobs_of("report", ledger.runner(), Every(60), on_crash=on_crash, misfire="skip"), "b")
    await trio.sleep(125 - trio.current_time())
    await nursery.start(second.run)
    await trio.sleep(60)
    assert ledger.due == due
    (unknown,) = cluster.entries("run_unknown", "report")
    assert unknown.result == "unknown"
    assert unknown.details == {"due_at": iso(60), "on_crash": on_crash, "term": 1}
    (claim,) = await cluster.store.claims(LEASE)
    assert claim == Claim("report", at(180), 2, "completed")
    await second.stop()


async def test_a_run_that_a_stop_cuts_is_unknown_to_the_next_term(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(500), Every(60)), drain_timeout=10)
    await nursery.start(conductor.run)
    await trio.sleep(70)
    await conductor.stop()
    assert trio.current_time() == 80
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1)]
    await nursery.start(conductor.run)
    await trio.sleep(1)
    assert len(cluster.entries("run_unknown")) == 1
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 2, "unknown")]
    await conductor.stop()


async def test_a_stop_drains_a_run_and_its_claim_is_ended_before_the_release(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(15), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(65)
    await conductor.stop()
    assert trio.current_time() == 75
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1, "completed")]
    assert [call for _, call in store.calls if call in ("claim", "release")] == ["claim", "claim", "claim", "release"]


async def test_a_stop_while_an_instant_is_being_claimed_drains_its_run(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(2), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=3) if call == "claim" else None
    await trio.sleep(2)
    await conductor.stop()
    assert ledger.runs == [(63, "a", 60)]
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1, "completed")]


async def test_nothing_runs_without_the_stores_word_and_it_runs_once_that_comes(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(broken=OSError("line noise")) if call == "claim" else None
    await trio.sleep(10)
    assert ledger.runs == []
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1)]
    store.fault = None
    await trio.sleep(10)
    assert ledger.due == [60]
    (failed,) = cluster.entries("claim_failed")
    assert failed.error == "OSError: line noise"
    await conductor.stop()


async def test_an_end_that_the_store_did_not_take_is_told_again(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(5), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(62)
    store.fault = lambda call: StoreFault(error=OSError("away")) if call == "claim" else None
    await trio.sleep(18)
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1)]
    store.fault = None
    await trio.sleep(10)
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1, "completed")]
    await conductor.stop()


async def test_under_a_later_term_that_it_has_not_heard_of_a_leader_claims_nothing(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Every(2)))
    await nursery.start(conductor.run)
    # Renewals come every five seconds; behind its back the lease goes to another.
    await trio.sleep(0.5)
    (claim,) = await cluster.store.claims(LEASE)
    record = cluster.store._records[LEASE]
    assert record.value is not None
    record.value = msgspec.structs.replace(record.value, term=7, holder=Holder("b", "x"))
    await trio.sleep(4)
    assert ledger.runs == []
    assert await cluster.store.claims(LEASE) == [claim]
    await conductor.stop()


async def test_a_wall_clock_that_is_set_is_noticed_within_a_second(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Cron("0 * * * *")))
    await nursery.start(conductor.run)
    await trio.sleep(10.5)
    cluster.wall_clock.step(3600 - 10.5)
    await trio.sleep(1)
    # Found at the next look, while it is still on time.
    assert [(when, due) for when, _, due in ledger.runs] == [(11, 3600)]
    assert not cluster.entries("runner_misfired")
    cluster.wall_clock.step(-1800)
    await trio.sleep(1800)
    assert ledger.due == [3600]
    await trio.sleep(3600)
    assert ledger.due == [3600, 7200]
    await conductor.stop()


async def test_a_runner_that_is_registered_later_is_taken_up_at_once_from_any_thread(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger, jobs = Cluster(), Ledger(), TimedJobs()
    conductor, _ = cluster.node(jobs)
    await nursery.start(conductor.run)
    await trio.sleep(30.25)
    jobs.register_runner("report", ledger.runner(), schedule=Every(0.5))
    await trio.sleep(0.5)
    assert ledger.due == [30.5]
    await conductor.stop()
    jobs.register_runner("later", ledger.runner(), schedule=Every(0.5))


async def test_without_autostart_no_schedule_is_kept_but_runners_run_when_asked(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)), autostart=False)
    await nursery.start(conductor.run)
    await trio.sleep(100)
    assert ledger.runs == []
    assert not [call for _, call in store.calls if call in ("claim", "claims")]
    assert (await conductor.run_now("report")).decision == "scheduled"
    assert ledger.due == [None]
    await conductor.stop()


async def test_a_store_without_claims_is_refused_before_anything_starts(autojump_clock: Any) -> None:
    cluster = Cluster()
    conductor, journal = make_conductor(jobs_of("report", Ledger().runner(), Every(60)), NodeStore(cluster.store))
    with pytest.raises(Unusable, match="NodeStore keeps no claims, which the schedule of runner 'report' needs"):
        await conductor.run()
    assert journal.entries == []


async def test_registered_later_it_is_journaled_once_that_the_store_keeps_no_claims(
    autojump_clock: Any, nursery: Any
) -> None:
    jobs = TimedJobs()
    conductor, journal = make_conductor(jobs, NodeStore(Cluster().store))
    await nursery.start(conductor.run)
    jobs.register_runner("report", Ledger().runner(), schedule=Every(1))
    await trio.sleep(20)
    skipped = journal.one("runner_skipped")
    assert skipped.error == "the lease store keeps no claims, which a schedule needs"
    await conductor.stop()


async def test_where_all_runners_have_schedules_no_interval_tick_is_journaled(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster = Cluster()
    conductor, _ = cluster.node(jobs_of("report", Ledger().runner(), Every(3600)))
    await nursery.start(conductor.run)
    await trio.sleep(600)
    assert not [entry for entry in cluster.journal.entries if entry.stage.startswith("tick_")]
    await conductor.stop()


async def test_many_that_are_due_at_once_are_all_run(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger, jobs = Cluster(), Ledger(), TimedJobs()
    for number in range(500):
        jobs.register_runner(f"r{number:03}", ledger.runner(), schedule=Cron("0 * * * *"))
    conductor, store = cluster.node(jobs)
    await nursery.start(conductor.run)
    await trio.sleep(3601)
    assert [due for _, _, due in ledger.runs] == [3600] * 500
    # Claimed many at a time: for what is new, and for what is due; ended one by one.
    assert sum(call == "claim" for _, call in store.calls) == 10 + 10 + 500
    await conductor.stop()


async def test_a_runner_with_a_schedule_has_its_own_timeout(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(100), Every(60), timeout=7))
    await nursery.start(conductor.run)
    await trio.sleep(70)
    (failed,) = cluster.entries("runner_failed", "report")
    assert failed.error == "timed out after 7 s"
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1, "failed")]
    await conductor.stop()


async def test_after_a_hundred_missed_instants_only_the_latest_hundred_are_run(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    await cluster.store.acquire(LEASE, Holder("old", "x"), 1.0)
    await cluster.store.claim(LEASE, [Claim("report", NOON.replace(year=2025), 1, "completed")])
    await trio.sleep(5)
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Cron("* * * * *"), misfire="run_all"))
    await nursery.start(conductor.run)
    await trio.sleep(10)
    assert ledger.due == [60.0 * minute for minute in range(-99, 1)]
    (entry,) = cluster.entries("runner_misfired")
    assert entry.details["due_count_at_least"] == 101
    assert entry.details["first_due_at"] == "2025-11-23T12:01:00Z"
    assert entry.details["run_due_at"] == iso(-99 * 60)
    await conductor.stop()


async def test_a_claim_that_lies_ahead_is_journaled(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    await cluster.store.acquire(LEASE, Holder("old", "x"), 1.0)
    await cluster.store.claim(LEASE, [Claim("report", at(7200), 1, "completed")])
    await trio.sleep(5)
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Every(3600)))
    await nursery.start(conductor.run)
    await trio.sleep(7300)
    (ahead,) = cluster.entries("schedule_ahead", "report")
    assert ahead.details == {"due_at": iso(7200), "term": 1}
    assert ledger.due == []
    await trio.sleep(3600)
    assert ledger.due == [10800]
    await conductor.stop()


async def test_a_stop_while_it_is_asked_who_is_paused_claims_and_runs_nothing(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(2), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=3) if call == "paused" else None
    await trio.sleep(2)
    await conductor.stop()
    assert trio.current_time() == 61
    assert ledger.runs == []
    assert await cluster.store.claims(LEASE) == [Claim("report", NOON, 1, "registered")]


async def test_a_drain_that_is_cut_waits_for_no_store_that_is_to_hear_of_the_end_of_a_run(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(5), Every(60)), drain_timeout=8)
    await nursery.start(conductor.run)
    await trio.sleep(62)
    store.fault = lambda call: HANG if call == "claim" else None
    await trio.sleep(4)
    await conductor.stop()
    assert trio.current_time() == 74
    assert await cluster.store.claims(LEASE) == [Claim("report", at(60), 1)]


@pytest.mark.parametrize(("misfire", "stage"), [("run_once", "runner_misfired"), ("skip", "runner_skipped")])
async def test_what_was_missed_is_told_before_it_is_taken_or_a_crash_in_between_would_lose_it(
    autojump_clock: Any, nursery: Any, misfire: Any, stage: str
) -> None:
    cluster, ledger = Cluster(), Ledger()
    first, its_store = cluster.node(jobs_of("report", ledger.runner(), Every(60), misfire=misfire), "a")
    await nursery.start(first.run)
    await trio.sleep(62)
    its_store.fault = lambda call: LOST_ANSWER if call == "claim" else None
    cluster.wall_clock.step(200)
    await trio.sleep(2)
    (claim,) = await cluster.store.claims(LEASE)
    assert claim.due_at == at(240)
    await crash(first, its_store)
    (missed,) = cluster.entries(stage, "report")
    assert (missed.details["first_due_at"], missed.details["last_due_at"]) == (iso(120), iso(240))
