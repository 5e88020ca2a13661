"""The judge of journals on runs by schedule: each due instant is run once, and in order, whatever the clocks say."""

import tracemalloc
from pathlib import Path

import pytest
import trio

from conductor_jobs import Cron, Every, TimedJobs
from conductor_jobs.audit import AuditReport
from conductor_jobs.journal import LEASE

from .journals import Lines, Scribe, on_virtual_time, read
from .scheduled import Cluster
from .test_audit import judged, told


def due(minute: int) -> str:
    return f"2026-04-01T00:{minute:02}:00Z"


class Leader:
    """Writes the lines of one leader by hand, each run a tick of its own."""

    def __init__(self, lines: Lines, node_id: str, term: int, at: int) -> None:
        self._scribe, self._term, self._number = Scribe(lines, node_id), term, 0
        self._scribe.begin(at)
        self._scribe.lead(at, term)

    def run(self, at: int, due_at: str, attempts: int = 1) -> None:
        self._number += 1
        batch_id = f"b-{self._term}-{self._number}"
        self._scribe.add(at, "timed-jobs.framework", "tick_started", batch_id, group="r", due_at=due_at)
        for attempt in range(attempts):
            self._scribe.add(at, "r", "runner_started", batch_id, group="r", due_at=due_at, term=self._term)
            end = "runner_completed" if attempt == attempts - 1 else "runner_retrying"
            self._scribe.add(at, "r", end, batch_id)
        self._scribe.tick(at, batch_id, "tick_completed")

    def unknown(self, at: int, due_at: str, on_crash: str) -> None:
        self._scribe.add(at, "r", "run_unknown", "b", due_at=due_at, on_crash=on_crash, term=self._term - 1)


def found(lines: Lines) -> list[tuple[str, str]]:
    return [(each.rule, each.what) for each in judged(sorted(lines, key=lambda line: str(line["ts"]))).violations]


def test_instants_that_rise_within_a_term_and_from_term_to_term_are_admitted() -> None:
    lines: Lines = []
    first, second = Leader(lines, "alpha", 1, 0), Leader(lines, "beta", 2, 200_000)
    first.run(60_000, due(1))
    first.run(120_000, due(2), attempts=3)
    second.run(240_000, due(4))
    assert found(lines) == []


def test_an_instant_that_is_run_twice_in_one_term_is_found() -> None:
    lines: Lines = []
    leader = Leader(lines, "alpha", 1, 0)
    leader.run(60_000, due(1))
    leader.run(61_000, due(1))
    assert found(lines) == [("I19", f"r due at {due(1)} is run twice, under term 1 and term 1 (j:4)")]


@pytest.mark.parametrize(("on_crash", "times"), [("rerun", 0), ("report", 1), (None, 1)])
def test_an_instant_is_run_again_by_the_next_leader_only_after_it_said_so(on_crash: str | None, times: int) -> None:
    lines: Lines = []
    first, second = Leader(lines, "alpha", 1, 0), Leader(lines, "beta", 2, 100_000)
    first.run(60_000, due(1))
    if on_crash is not None:
        second.unknown(100_000, due(1), on_crash)
    second.run(101_000, due(1))
    second.run(160_000, due(2))
    assert [rule for rule, _ in found(lines)] == ["I19"] * times


def test_what_was_to_be_run_again_is_run_again_once() -> None:
    lines: Lines = []
    first, second = Leader(lines, "alpha", 1, 0), Leader(lines, "beta", 2, 100_000)
    first.run(60_000, due(1))
    second.unknown(100_000, due(1), "rerun")
    second.run(101_000, due(1))
    second.run(102_000, due(1))
    assert [rule for rule, _ in found(lines)] == ["I19"]


def test_an_instant_before_one_that_an_older_term_has_run_is_found() -> None:
    lines: Lines = []
    first, second = Leader(lines, "alpha", 1, 0), Leader(lines, "beta", 2, 100_000)
    first.run(60_000, due(5))
    second.run(101_000, due(4))
    assert found(lines) == [("I19", f"r due at {due(4)} is run under term 2 after that due at {due(5)} (j:4)")]


def test_clocks_that_differ_are_no_evidence_of_another_order() -> None:
    # Beta's clock is a minute behind, so that its lines come before those that alpha wrote earlier.
    lines: Lines = []
    second, first = Leader(lines, "beta", 2, 0), Leader(lines, "alpha", 1, 30_000)
    second.run(10_000, due(2))
    first.run(60_000, due(1))
    assert "I19" not in {rule for rule, _ in found(lines)}
    first.run(61_000, due(3))
    assert "I19" in {rule for rule, _ in found(lines)}


def test_behind_lines_that_were_lost_a_second_run_may_have_been_announced() -> None:
    lines: Lines = []
    first, second = Leader(lines, "alpha", 1, 0), Leader(lines, "beta", 2, 100_000)
    first.run(60_000, due(1))
    second._scribe.add(100_000, "timed-jobs.framework", "journal_lost", "b", lost_entry_count=1)
    second.run(101_000, due(1))
    assert found(lines) == []


def test_a_due_instant_that_is_none_is_said_to_be_unjudged() -> None:
    lines: Lines = []
    leader = Leader(lines, "alpha", 1, 0)
    for text in ("noon", "2026-04-01T00:01:00"):
        leader.run(60_000, text)
    report = judged(lines)
    assert report.violations == []
    assert "2 lines that lack their term or their lease's name" in report.unjudged


def test_the_memory_that_runs_by_schedule_take_does_not_grow_with_them() -> None:
    lines: Lines = []
    leader = Leader(lines, "alpha", 1, 0)
    for number in range(2000):
        leader.run(60_000, f"2026-04-{1 + number // 1440:02}T{number // 60 % 24:02}:{number % 60:02}:00Z")
    tracemalloc.start()
    report = judged(lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.violations == []
    assert peak < 300_000


async def quick(ctx: object) -> None:
    await trio.sleep(20)


def scheduled_jobs() -> TimedJobs:
    jobs = TimedJobs(interval=10)
    jobs.register_runner("again", quick, schedule=Every(30), on_crash="rerun")
    jobs.register_runner("minutely", quick, schedule=Cron("* * * * *"))
    return jobs


def written(folder: Path) -> AuditReport:
    """Judge what two nodes wrote, of which the first is cut off, resigns, leads again, and is stopped."""

    async def main() -> None:
        cluster = Cluster()
        alpha, alphas_store = cluster.node(scheduled_jobs(), "alpha", log_dir=folder)
        beta, _ = cluster.node(scheduled_jobs(), "beta", log_dir=folder)
        async with trio.open_nursery() as nursery:
            await nursery.start(alpha.run)
            await trio.sleep(31)
            await nursery.start(beta.run)
            alphas_store.partition()
            await beta.wait_leader()
            alphas_store.heal()
            await trio.sleep(100)
            await beta.resign()
            await alpha.wait_leader()
            await trio.sleep(60)
            await alpha.resign()
            await beta.wait_leader()
            await trio.sleep(60)
            await beta.stop()
            await alpha.wait_leader()
            await trio.sleep(60)
            await alpha.stop()

    on_virtual_time(main)
    return judged(told(read(folder)))


def test_of_what_real_conductors_wrote_nothing_is_wrong_though_they_resign_and_lead_again(tmp_path: Path) -> None:
    report = written(tmp_path)
    assert report.violations == []
    assert report.unjudged == []
    (lease,) = report.leases
    assert lease.holders == {"alpha": 3, "beta": 2}
    stages = [line["stage"] for lines in read(tmp_path).values() for line in lines]
    assert {"resigning", "run_unknown", "runner_misfired"} <= set(stages)
    assert stages.count("lease_released") == 4


def test_a_writer_that_resigned_may_release_its_lease_once_for_it() -> None:
    lines: Lines = []
    scribe = Scribe(lines, "alpha")
    scribe.begin()
    scribe.lead(1_000, 1)
    scribe.lead(2_000, 1, "resigning")
    scribe.lead(3_000, 1, "leader_ended")
    scribe.lead(3_000, 1, "lease_released")
    scribe.lead(5_000, 2)
    scribe.lead(6_000, 2, "leader_ended")
    scribe.lead(6_000, 2, "lease_released")
    assert judged(lines).violations == []
    scribe.lead(8_000, 3)
    (violation,) = judged(lines).violations
    assert violation.rule == "I7"
    assert f"leader_started of {LEASE} after alpha" in violation.what
