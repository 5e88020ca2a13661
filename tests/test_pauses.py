"""Pausing and resuming runners, running one now, and giving the lease back."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from conductor_jobs import Conductor, ConductorStopped, Every, TickContext, TimedJobs
from conductor_jobs.runner_records import Claim
from conductor_jobs.testing import HANG, StoreFault

from .scheduled import LEASE, Cluster, Ledger, at, crash, iso, jobs_of
from .support import NodeStore, make_conductor


def two_runners(scheduled: Ledger, plain: Ledger) -> TimedJobs:
    jobs = TimedJobs(interval=10)
    jobs.register_runner("scheduled", scheduled.runner(), schedule=Every(60))
    jobs.register_runner("plain", plain.runner())
    return jobs


async def test_a_paused_runner_is_skipped_each_time_with_a_line_until_it_is_resumed(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, scheduled, plain = Cluster(), Ledger(), Ledger()
    conductor, _ = cluster.node(two_runners(scheduled, plain))
    await nursery.start(conductor.run)
    await conductor.pause("scheduled")
    await conductor.pause("plain")
    assert conductor.status().paused == ("plain", "scheduled")
    await trio.sleep(65)
    assert scheduled.runs == plain.runs == []
    (skipped,) = cluster.entries("runner_skipped", "scheduled")
    assert skipped.result == "paused"
    assert skipped.details == {"first_due_at": iso(60), "last_due_at": iso(60), "due_count": 1}
    assert [entry.result for entry in cluster.entries("runner_skipped", "plain")] == ["paused"] * 6
    await conductor.resume("scheduled")
    await conductor.resume("plain")
    await trio.sleep(60)
    # What was due in the pause stays skipped.
    assert scheduled.due == [120]
    assert [when for when, _, _ in plain.runs] == [70, 80, 90, 100, 110, 120]
    await conductor.stop()


async def test_a_pause_holds_on_every_node_and_over_restarts(autojump_clock: Any, nursery: Any) -> None:
    cluster, scheduled, plain = Cluster(), Ledger(), Ledger()
    leader, _ = cluster.node(two_runners(scheduled, plain), "a")
    standby, _ = cluster.node(two_runners(scheduled, plain), "b")
    await nursery.start(leader.run)
    await nursery.start(standby.run)
    await standby.pause("scheduled")
    await standby.pause("plain")
    await trio.sleep(6)  # longer than the heartbeat interval
    await trio.sleep(60)
    assert scheduled.runs == plain.runs == []
    await leader.stop()
    await standby.stop()
    await nursery.start(leader.run)
    await trio.sleep(120)
    assert scheduled.runs == plain.runs == []
    await leader.stop()


async def test_a_pause_elsewhere_holds_at_once_for_a_schedule(autojump_clock: Any, nursery: Any) -> None:
    cluster, scheduled, plain = Cluster(), Ledger(), Ledger()
    leader, _ = cluster.node(two_runners(scheduled, plain), "a")
    standby, _ = cluster.node(two_runners(scheduled, plain), "b")
    await nursery.start(leader.run)
    await nursery.start(standby.run)
    await trio.sleep(59.999)
    await standby.pause("scheduled")
    await trio.sleep(1)
    assert scheduled.runs == []
    await leader.stop()
    await standby.stop()


async def test_a_runner_runs_now_though_paused_and_no_due_instant_is_taken_by_it(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, scheduled, plain = Cluster(), Ledger(), Ledger()
    conductor, _ = cluster.node(two_runners(scheduled, plain))
    await nursery.start(conductor.run)
    await conductor.pause("scheduled")
    await trio.sleep(1)
    result = await conductor.run_now("scheduled")
    assert (result.decision, result.runner_count, result.failed_runner_count) == ("scheduled", 1, 0)
    assert (await conductor.run_now("plain")).decision == "scheduled"
    assert scheduled.due == plain.due == [None]
    started = cluster.entries("runner_started", "scheduled")[0].details
    assert (started["trigger"], started["group"]) == ("manual", "scheduled")
    assert [claim.due_at for claim in await cluster.store.claims(LEASE)] == [at(0)]
    await conductor.stop()


async def test_a_runner_at_work_is_not_run_beside_itself(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(30), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(65)
    result = await conductor.run_now("report")
    assert (result.decision, result.runner_count) == ("skipped_busy", 1)
    (refused,) = cluster.entries("tick_skipped_busy")
    assert refused.details == {"trigger": "manual", "group": "report"}
    await trio.sleep(50)
    # A run that was asked for makes the next due instant wait, and late.
    nursery.start_soon(conductor.run_now, "report")
    await trio.sleep(40)
    assert ledger.runs == [(60, "a", 60), (115, "a", None), (145, "a", 120)]
    await conductor.stop()


async def test_on_a_standby_nothing_is_run_now(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    leader, standby = (cluster.node(jobs_of("report", ledger.runner(), Every(60)), name)[0] for name in "ab")
    await nursery.start(leader.run)
    await nursery.start(standby.run)
    assert (await standby.run_now("report")).decision == "skipped_not_leader"
    assert (await standby.resign()) == "skipped_not_leader"
    assert ledger.runs == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["pause", "resume", "run_now"])
async def test_of_runners_that_nobody_registered_nothing_is_done(
    autojump_clock: Any, nursery: Any, method: str
) -> None:
    cluster = Cluster()
    conductor, store = cluster.node(jobs_of("report", Ledger().runner(), Every(60)))
    with pytest.raises(RuntimeError, match="the conductor is not running"):
        await getattr(conductor, method)("report")
    await nursery.start(conductor.run)
    with pytest.raises(ValueError, match="No timed job runner is registered as 'rapport'; there are: 'report'"):
        await getattr(conductor, method)("rapport")
    assert "set_paused" not in [call for _, call in store.calls]
    await conductor.stop()


async def test_a_store_that_keeps_no_pauses_says_so(autojump_clock: Any, nursery: Any) -> None:
    jobs = TimedJobs()
    jobs.register_runner("plain", Ledger().runner())
    conductor, _ = make_conductor(jobs, NodeStore(Cluster().store))
    await nursery.start(conductor.run)
    with pytest.raises(RuntimeError, match="NodeStore does not keep who is paused"):
        await conductor.pause("plain")
    await conductor.stop()


async def test_a_pause_that_the_store_refuses_is_none_here_either(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    conductor, store = cluster.node(jobs_of("report", Ledger().runner(), Every(60)))
    await nursery.start(conductor.run)
    store.fault = lambda call: StoreFault(error=OSError("away")) if call == "set_paused" else None
    with pytest.raises(OSError, match="away"):
        await conductor.pause("report")
    assert conductor.status().paused == ()
    await conductor.stop()


@pytest.mark.parametrize(
    ("ask", "call"),
    [
        (lambda conductor: conductor.pause("report"), "set_paused"),
        (lambda conductor: conductor.resume("report"), "set_paused"),
        (lambda conductor: conductor.refresh(), "claims"),
        (lambda conductor: conductor.refresh(), "paused"),
    ],
    ids=["pause", "resume", "refresh claims", "refresh pauses"],
)
async def test_who_asks_a_store_that_does_not_answer_gets_a_timeout_error(
    autojump_clock: Any, nursery: Any, ask: Callable[[Conductor], Awaitable[None]], call: str
) -> None:
    cluster = Cluster()
    conductor, store = cluster.node(jobs_of("report", Ledger().runner(), Every(60)))
    await nursery.start(conductor.run)
    began = trio.current_time()
    store.fault = lambda each: HANG if each == call else None
    with pytest.raises(TimeoutError, match="the lease store gave no answer within 5 s") as caught:
        await ask(conductor)
    assert type(caught.value) is TimeoutError
    assert trio.current_time() - began == conductor.timing.store_timeout == 5
    store.heal()
    await ask(conductor)
    await conductor.stop()


async def test_a_leader_that_resigns_drains_its_work_and_another_one_leads(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    nodes = [cluster.node(jobs_of("report", ledger.runner(20), Every(60)), name)[0] for name in "ab"]
    for conductor in nodes:
        await nursery.start(conductor.run)
    await trio.sleep(65)
    assert await nodes[0].resign() == "resigned"
    assert trio.current_time() == 80
    await nodes[1].wait_leader()
    assert trio.current_time() < 80.1
    assert (nodes[0].status().leadership, nodes[1].status().term) == ("standby", 2)
    await trio.sleep(45)
    assert [(who, due) for _, who, due in ledger.runs] == [("a", 60), ("b", 120)]
    stages = [entry.stage for entry in cluster.journal.entries if entry.runner == "timed-jobs.lease"]
    assert stages == ["leader_started", "resigning", "leader_ended", "lease_released", "leader_started"]
    for conductor in nodes:
        await conductor.stop()


async def test_alone_a_node_that_resigned_leads_again(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(), Every(60)))
    await nursery.start(conductor.run)
    for term in (2, 3):
        assert await conductor.resign() == "resigned"
        resigned_at = trio.current_time()
        assert conductor.status().leadership == "standby"
        await conductor.wait_leader()
        assert trio.current_time() == resigned_at + 1.5
        assert conductor.status().term == term
    await conductor.stop()


async def test_what_outlives_the_drain_is_cut_and_the_lease_renewed_until_then(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(500), Every(60)), drain_timeout=100)
    await nursery.start(conductor.run)
    await trio.sleep(65)
    assert await conductor.resign() == "resigned"
    assert trio.current_time() == 165
    (cancelled,) = cluster.entries("runner_cancelled", "report")
    assert cancelled.result == "drain_timeout"
    assert [entry.result for entry in cluster.entries("leader_ended")] == ["released"]
    await conductor.stop()


async def test_nothing_begins_while_a_leader_resigns(autojump_clock: Any, nursery: Any) -> None:
    cluster, slow, quick = Cluster(), Ledger(), Ledger()
    jobs = TimedJobs(interval=7)
    jobs.register_runner("slow", slow.runner(30), schedule=Every(60))
    jobs.register_runner("quick", quick.runner(), schedule=Every(2))
    jobs.register_runner("plain", quick.runner())
    conductor, _ = cluster.node(jobs)
    await nursery.start(conductor.run)
    await trio.sleep(61)
    quick.runs.clear()
    nursery.start_soon(conductor.resign)
    await trio.sleep(20)
    assert quick.runs == []
    await conductor.stop()


async def test_a_stop_in_a_resignation_is_no_longer_than_that(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, _ = cluster.node(jobs_of("report", ledger.runner(30), Every(60)), drain_timeout=10)
    await nursery.start(conductor.run)
    await trio.sleep(61)
    answers: list[str] = []

    async def resign() -> None:
        answers.append(await conductor.resign())

    nursery.start_soon(resign)
    await trio.sleep(1)
    await conductor.stop()
    assert trio.current_time() == 71
    assert answers == ["resigned"]
    assert [entry.stage for entry in cluster.entries("lease_released")] == ["lease_released"]
    assert cluster.journal.entries[-1].stage == "stopped"


async def test_a_resignation_that_the_end_of_the_run_cuts_short_is_told(autojump_clock: Any, nursery: Any) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(), Every(60)), drain_timeout=10)
    await nursery.start(conductor.run)
    await trio.sleep(61)
    store.fault = lambda call: StoreFault(delay_before=3) if call == "release" else None

    async def resign() -> None:
        with pytest.raises(ConductorStopped):
            await conductor.resign()

    nursery.start_soon(resign)
    await trio.sleep(1)
    await conductor.stop()
    assert trio.current_time() == 65
    assert len(cluster.entries("lease_released")) == 1


async def test_leaders_work_cannot_wait_for_its_own_resignation(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    seen: list[str] = []

    async def run(ctx: TickContext) -> None:
        with pytest.raises(RuntimeError, match="would wait for itself"):
            await conductor.resign()
        seen.append("refused")

    conductor, _ = cluster.node(jobs_of("report", run, Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(61)
    assert seen == ["refused"]
    await conductor.stop()


async def test_what_a_dead_term_left_is_not_run_again_while_its_runner_is_paused(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    first, its_store = cluster.node(jobs_of("report", ledger.runner(30), Every(60), on_crash="rerun"), "a")
    await nursery.start(first.run)
    await trio.sleep(70)
    await first.pause("report")
    await crash(first, its_store)
    second, _ = cluster.node(jobs_of("report", ledger.runner(), Every(60), on_crash="rerun"), "b")
    await nursery.start(second.run)
    await trio.sleep(60)
    assert ledger.due == [60]
    assert len(cluster.entries("run_unknown", "report")) == 1
    assert await cluster.store.claims(LEASE) == [Claim("report", at(120), 2, "paused")]
    await second.resume("report")
    await trio.sleep(60)
    assert ledger.due == [60, 180]
    await second.stop()


async def test_who_is_run_now_while_its_instant_is_being_claimed_is_run_for_that_afterwards(
    autojump_clock: Any, nursery: Any
) -> None:
    cluster, ledger = Cluster(), Ledger()
    conductor, store = cluster.node(jobs_of("report", ledger.runner(20), Every(60)))
    await nursery.start(conductor.run)
    await trio.sleep(59)
    store.fault = lambda call: StoreFault(delay_after=4) if call == "claim" else None
    await trio.sleep(2)
    result = await conductor.run_now("report")
    assert result.decision == "scheduled"
    assert trio.current_time() == 81
    await trio.sleep(40)
    assert ledger.runs == [(61, "a", None), (81, "a", 60)]
    assert conductor.status().runs_in_flight == ()
    await conductor.stop()
