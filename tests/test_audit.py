"""The judge of journals: nothing to say of what real conductors wrote, and each rule once that is falsified."""

import copy
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from conductor_jobs import JournalEntry, Retry, TickContext, TimedJobs, read_journal
from conductor_jobs.audit import AuditReport, JournalAudit
from conductor_jobs.journal import FRAMEWORK, LEASE

from .journals import Lines, Scribe, Site, on_virtual_time, read, write_history

Falsify = Callable[[Lines], object]
UNREADABLE = "this line cannot be read"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lines]:
    folder = tmp_path_factory.mktemp("history")
    write_history(folder)
    return read(folder)


def found(lines: Lines, stage: str, nth: int = 0, **values: str | int) -> int:
    """Return the place of the nth line of that stage with those values."""
    return [place for place, line in enumerate(lines) if line["stage"] == stage and values.items() <= line.items()][nth]


def judged(lines: Lines, max_clock_skew_ms: int = 0) -> AuditReport:
    """Judge lines that stand in the order of time; a line may say in `file` where it stands."""
    audit = JournalAudit(max_clock_skew_ms)
    keys = JournalEntry.__struct_fields__[:7]
    for number, line in enumerate(lines, start=1):
        if line["stage"] == UNREADABLE:
            audit.unreadable(line["file"], f"j:{number}", torn=False)
            continue
        details = {key: value for key, value in line.items() if key not in keys}
        entry = JournalEntry(**{key: line[key] for key in keys}, details=details)
        audit.take(line.get("file", "j"), entry, f"j:{number}")
    return audit.close()


def rules(report: AuditReport) -> set[str]:
    assert report.violation_count >= len(report.violations)
    return {violation.rule for violation in report.violations}


def told(history: dict[str, Lines]) -> Lines:
    """Return the whole history in the order of time, each line with its file."""
    lines = [dict(line, file=name) for name, lines in sorted(history.items()) for line in lines]
    return sorted(lines, key=lambda line: str(line["ts"]))


def test_of_what_real_conductors_wrote_nothing_is_wrong_and_all_is_judged(history: dict[str, Lines]) -> None:
    report = judged(told(history))
    assert report.violations == []
    assert report.unjudged == []
    assert report.cautions == []
    (lease,) = report.leases
    assert (lease.lease_name, lease.term_count, lease.first_term, lease.last_term) == ("conductor", 3, 1, 3)
    assert lease.holders == {"alpha": 2, "beta": 1}
    assert [writer.node_id for writer in report.writers] == ["beta", "alpha", "alpha"]
    assert {writer.ended for writer in report.writers} == {"stopped"}
    assert sum(writer.line_count for writer in report.writers) == report.line_count


def add(stage: str, before: str, **changes: object) -> Falsify:
    """Copy the first line of a stage, changed, to just before the last of another."""

    def falsify(lines: Lines) -> None:
        place = found(lines, before, -1)
        ts, file = lines[place]["ts"], lines[place]["file"]
        lines.insert(place, lines[found(lines, stage)] | {"ts": ts, "file": file} | changes)

    return falsify


def drop(stage: str, **values: str) -> Falsify:
    return lambda lines: lines.pop(found(lines, stage, 0, **values))


def change(stage: str, nth: int = 0, **changes: object) -> Falsify:
    return lambda lines: lines[found(lines, stage, nth)].update(changes)


def repeat(stage: str) -> Falsify:
    return lambda lines: lines.insert(found(lines, stage) + 1, dict(lines[found(lines, stage)]))


def run_again(lines: Lines) -> None:
    start, end = found(lines, "runner_started"), found(lines, "runner_completed")
    lines[end + 1 : end + 1] = [dict(lines[start]), dict(lines[end])]


def postpone(stage: str, nth: int, behind: str) -> Falsify:
    """Move a line to just behind the next of another stage in its file."""

    def falsify(lines: Lines) -> None:
        place = found(lines, stage, nth)
        line = lines[place]
        behind_it = next(
            each
            for each in range(place, len(lines))
            if lines[each]["stage"] == behind and lines[each]["file"] == line["file"]
        )
        lines.insert(behind_it + 1, line | {"ts": lines[behind_it]["ts"]})
        del lines[place]

    return falsify


FALSIFIED: list[tuple[str, Falsify, str, str]] = [
    ("a term of two holders", change("leader_started", 1, term=1), "I3", "term 1 belongs to alpha"),
    ("a term after a higher one", change("leader_started", 0, term=9), "I3", "a higher term began before it"),
    ("a term that begins twice", repeat("leader_started"), "I3", "term 1 began already"),
    ("a term of somebody else's", change("leader_started", 0, holder_id="gamma"), "I3", "said to belong to gamma"),
    ("a start outside of a term", drop("leader_started"), "I2", "under term 1, but it does not lead"),
    ("a term that ends without its start", repeat("leader_ended"), "I3", "ends term 1, but it does not lead"),
    ("a run without an end", drop("runner_completed", runner="quick"), "ends", "quick of the same tick has not ended"),
    ("a tick with a run in it", drop("runner_failed"), "ends", "though failing has not ended"),
    ("an end without a start", drop("runner_started", runner="slow"), "ends", "slow in timed-jobs-"),
    ("two ends", repeat("runner_completed"), "ends", "where it is not at work"),
    ("two starts", repeat("runner_started"), "ends", "quick of the same tick has not ended"),
    ("an end after its tick", postpone("runner_failed", 0, "tick_completed"), "ends", "where it is not at work"),
    ("a run twice in a tick", run_again, "ends", "quick starts for the second time"),
    ("a tick without an end", drop("tick_completed"), "I12", "begins with tick timed-jobs-"),
    ("a tick that ends twice", repeat("tick_completed"), "I12", "which is not in flight"),
    ("a tick without its start", drop("tick_started", result="running"), "I12", "which is not in flight"),
    ("a start under a term of somebody else's", change("runner_started", 0, term=2), "I2", "it leads term 1"),
    ("a start after the term's end", postpone("leader_ended", -1, "stopped"), "I7", "while its term 3 goes on"),
    ("a run after the release", postpone("tick_completed", -1, "lease_released"), "I7", "released its lease"),
    ("a runner's entry after the release", add("worked", "stopped"), "I7", "worked of quick after alpha"),
    ("two releases", repeat("lease_released"), "I7", "lease_released of timed-jobs.lease after beta"),
    (
        "a line after the stop",
        postpone("stopping", 0, "stopped"),
        "I14",
        "stopping of timed-jobs.framework after alpha",
    ),
]


@pytest.mark.parametrize(
    ("falsify", "rule", "words"), [row[1:] for row in FALSIFIED], ids=[row[0] for row in FALSIFIED]
)
def test_a_history_that_breaks_one_rule_is_found_out(
    history: dict[str, Lines], falsify: Falsify, rule: str, words: str
) -> None:
    lines = copy.deepcopy(told(history))
    falsify(lines)
    report = judged(lines)
    assert any((each.rule, words in each.what) == (rule, True) for each in report.violations), report.violations


def two_terms(late: list[tuple[int, str]], term: int = 1) -> Lines:
    """Return how alpha was cut off in a run of term 1, and what it did when beta led: its lines from 1000 ms on."""
    lines: Lines = []
    alpha, beta = Scribe(lines, "alpha"), Scribe(lines, "beta")
    alpha.begin()
    beta.begin()
    alpha.lead(1, 1)
    alpha.tick(2, "a")
    alpha.run(3, "a", 1)
    alpha.add(4, "r", "step", "a")
    beta.lead(900, 2)
    beta.tick(1000, "b")
    beta.run(1000, "b", 2)
    for at, stage in late:
        if stage == "runner_started":
            alpha.run(at, "a", term, "s")
        else:
            alpha.add(at, "r", stage, "a")
    return lines


END = (2000, "runner_cancelled")


@pytest.mark.parametrize(
    ("late", "let_pass", "expected"),
    [
        ([], 0, None),
        ([END], 0, None),
        ([(1000, "step"), (1000, "step"), END], 0, None),
        ([(1001, "step"), END], 1, None),
        ([(1001, "step"), (1001, "step"), (1002, "step"), END], 1, "I2"),
        ([(1000, "runner_completed"), (1000, "runner_started")], 0, None),
        ([(1000, "runner_completed"), (1001, "runner_started")], 0, "I3"),
    ],
    ids=["it died", "it ended late", "at the same time", "one act", "two acts", "a start at the same time", "a start"],
)
def test_of_an_older_term_one_act_is_let_pass_and_a_second_is_none_of_a_frozen_process(
    late: list[tuple[int, str]], let_pass: int, expected: str | None
) -> None:
    report = judged(two_terms(late))
    assert [violation.rule for violation in report.violations] == ([] if expected is None else [expected])
    assert report.leases[0].late_act_count == let_pass


@pytest.mark.parametrize(("skew", "expected"), [(0, {"I2"}), (499, {"I2"}), (500, set()), (10_000, set())])
def test_what_lies_closer_together_than_clocks_may_differ_is_no_evidence_between_writers(
    skew: int, expected: set[str]
) -> None:
    assert rules(judged(two_terms([(1500, "step"), (1500, "step")]), skew)) == expected


def test_terms_must_rise_between_writers_by_their_times_and_in_one_writer_by_its_lines() -> None:
    lines: Lines = []
    alpha, beta = Scribe(lines, "alpha"), Scribe(lines, "beta")
    alpha.begin()
    beta.begin()
    alpha.lead(1000, 7)
    beta.lead(1100, 5)
    assert rules(judged(lines)) == {"I3"}
    assert rules(judged(lines, 99)) == {"I3"}
    assert rules(judged(lines, 100)) == set()
    alpha.lead(1200, 7, "leader_ended")
    alpha.lead(1, 6)
    assert rules(judged(lines, 10_000)) == {"I3"}


def retried(after: list[tuple[str, str, int]]) -> Lines:
    """Return how alpha begins r in term 1 and says that it will try it again, and then the given lines."""
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    alpha.lead(1, 1)
    alpha.tick(2, "a")
    alpha.run(3, "a", 1)
    alpha.add(4, "r", "runner_retrying", "a", attempt=1, attempts=3)
    for at, (stage, runner, term) in enumerate(after, start=5):
        if stage == "runner_started":
            alpha.run(at, "a", term, runner)
        elif stage.startswith("leader"):
            alpha.lead(at, term, stage)
        else:
            alpha.add(at, FRAMEWORK if stage.startswith("tick") else runner, stage, "a")
    return lines


AGAIN = ("runner_started", "r", 1)
RETRYING, FAILED, COMPLETED = ("runner_retrying", "r", 0), ("runner_failed", "r", 0), ("runner_completed", "r", 0)
TICK_COMPLETED, TICK_INTERRUPTED = ("tick_completed", "", 0), ("tick_interrupted", "", 0)
TERM_ENDED, NEXT_TERM = ("leader_ended", "", 1), ("leader_started", "", 2)


@pytest.mark.parametrize(
    "after",
    [
        [],
        [AGAIN, COMPLETED, TICK_COMPLETED],
        [AGAIN, RETRYING, AGAIN, FAILED, TICK_COMPLETED],
        [AGAIN, FAILED, ("runner_started", "s", 1), ("runner_completed", "s", 0), TICK_COMPLETED],
        [TERM_ENDED, ("runner_skipped", "r", 0), TICK_INTERRUPTED],
        [("tick_failed", "", 0)],
    ],
    ids=["it died in the pause", "once", "twice, and failed", "then the next", "the term ended", "the tick failed"],
)
def test_a_runner_that_is_tried_again_in_its_tick_breaks_no_rule(after: list[tuple[str, str, int]]) -> None:
    report = judged(retried(after))
    assert (report.violations, report.unjudged) == ([], [])
    assert report.run_count == 1 + sum(stage == "runner_started" for stage, _, _ in after)


@pytest.mark.parametrize(
    ("after", "rule", "words"),
    [
        ([TERM_ENDED, AGAIN], "I2", "starts r under term 1, but it does not lead"),
        ([TERM_ENDED, NEXT_TERM, AGAIN], "I2", "starts r under term 1, but it leads term 2"),
        (
            [TERM_ENDED, NEXT_TERM, ("runner_started", "r", 2)],
            "I2",
            "r is tried again under term 2, after an attempt under term 1 (j:4)",
        ),
        ([("runner_started", "s", 1)], "ends", "s starts, though r was to be tried again first (j:5)"),
        ([TICK_COMPLETED], "ends", "tick_completed of a, though r was to be tried again (j:5)"),
        ([AGAIN, COMPLETED, AGAIN], "ends", "r starts for the second time in a"),
        ([RETRYING], "ends", "runner_retrying of r in a, where it is not at work"),
        ([AGAIN, AGAIN], "ends", "r starts, though r of the same tick has not ended (j:6)"),
    ],
    ids=[
        *("after its term", "in the next term, under the old one", "under the next term", "another first", "never"),
        *("without saying so", "of nothing", "twice at once"),
    ],
)
def test_a_retry_out_of_turn_is_found_out(after: list[tuple[str, str, int]], rule: str, words: str) -> None:
    (violation,) = judged(retried(after)).violations
    assert violation.rule == rule
    assert violation.what.endswith(words), violation.what


def test_a_retry_under_a_term_when_a_newer_one_was_at_work_elsewhere_is_found_out() -> None:
    lines = retried([])
    beta = Scribe(lines, "beta")
    beta.begin(900)
    beta.lead(900, 2)
    beta.tick(1000, "b")
    beta.run(1000, "b", 2)
    Scribe(lines, "alpha").run(1001, "a", 1)
    assert rules(judged(lines)) == {"I3"}


def test_of_what_real_conductors_write_about_retries_nothing_is_wrong(tmp_path: Path) -> None:
    async def flaky(ctx: TickContext) -> None:
        raise OSError("no route")

    async def main() -> None:
        jobs = TimedJobs(interval=10.0)
        jobs.register_runner("flaky", flaky, retry=Retry(attempts=3, backoff=4.0))
        jobs.register_runner("after", flaky, retry=Retry(attempts=2, backoff=60.0))
        site = Site(tmp_path)
        alpha, alphas_store = site.node("alpha", jobs)
        beta, _ = site.node("beta", jobs)
        async with trio.open_nursery() as nursery:
            await nursery.start(alpha.run)
            await nursery.start(beta.run)
            await trio.sleep(15)
            alphas_store.hang()
            await beta.wait_leader()
            await trio.sleep(150)
            await alpha.stop()
            await beta.stop()

    on_virtual_time(main)
    lines = told(read(tmp_path))
    report = judged(lines)
    assert (report.violations, report.unjudged) == ([], [])
    assert [line["runner"] for line in lines if line["stage"] == "runner_retrying"].count("after") >= 2
    assert {line["stage"] for line in lines} >= {"runner_failed", "runner_skipped", "tick_interrupted"}


def test_a_wall_clock_that_is_set_back_in_a_file_breaks_no_rule_of_its_writer_and_is_said() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin(5000)
    alpha.lead(5001, 1)
    alpha.tick(9000, "a")
    alpha.run(9000, "a", 1)
    alpha.add(2000, "r", "step", "a")
    alpha.add(2001, "r", "runner_completed", "a")
    alpha.tick(2001, "a", "tick_completed")
    alpha.lead(2002, 1, "leader_ended")
    alpha.lead(2003, 2)
    alpha.tick(2004, "b")
    alpha.run(2005, "b", 2)
    report = judged(lines)
    assert report.violations == []
    assert report.cautions == [
        "the wall clock went back by up to 7000 ms (j:5): between writers, what lies closer together than that may be "
        "told in the wrong order"
    ]


def test_journals_of_several_hosts_without_a_skew_are_a_caution() -> None:
    lines: Lines = []
    Scribe(lines, "alpha", host="mini").begin()
    Scribe(lines, "beta", host="maxi").begin()
    assert judged(lines).cautions == [
        "lines of several hosts (mini, maxi) were compared as if their clocks agreed to the millisecond"
    ]
    assert judged(lines, 5).cautions == []


def test_a_writer_that_just_ends_breaks_no_rule_whatever_it_was_at(history: dict[str, Lines]) -> None:
    lines = told(history)
    for count in range(len(lines)):
        assert judged(lines[:count]).violations == []
    alpha = [line for line in lines if line["file"] == "2026-04-01.jsonl"]
    (writer,) = judged(alpha[: found(alpha, "begun") + 1]).writers
    assert writer.ended == "not stopped, in runner slow"
    (writer,) = judged(alpha[: found(alpha, "tick_completed") + 1]).writers
    assert writer.ended == "not stopped, between ticks"


def test_another_writer_may_begin_in_the_file_of_one_that_was_killed() -> None:
    lines: Lines = []
    killed, restarted = Scribe(lines, "alpha", "1"), Scribe(lines, "alpha", "2")
    killed.begin()
    killed.lead(1, 1)
    killed.tick(2, "a")
    killed.run(3, "a", 1)
    restarted.begin(4)
    restarted.lead(5, 2)
    restarted.tick(6, "a")
    restarted.run(7, "a", 2)
    restarted.add(8, "r", "runner_completed", "a")
    report = judged(lines)
    assert (report.violations, report.unjudged) == ([], [])
    assert [writer.ended for writer in report.writers] == ["not stopped, in runner r", "not stopped, in a tick"]


def test_a_run_that_goes_on_in_the_file_of_the_next_day_is_the_same_writers(history: dict[str, Lines]) -> None:
    lines = told(history)
    goes_on = found(lines, "continued", node_id="alpha")
    assert lines[goes_on + 1]["stage"] == "done"  # of a runner that began the day before
    without = lines[:goes_on] + [line for line in lines[goes_on:] if line["stage"] != "done"]
    assert judged(without).violations == []
    end = next(place for place in range(goes_on, len(lines)) if lines[place]["stage"] == "runner_completed")
    del lines[end]
    assert rules(judged(lines)) == {"ends"}


def test_of_a_journal_whose_first_files_are_gone_only_what_begins_in_it_is_judged(history: dict[str, Lines]) -> None:
    second_day = [line for line in told(history) if line["ts"].startswith("2026-04-02")]
    report = judged(second_day)
    assert report.violations == []
    alpha = next(writer for writer in report.writers if writer.node_id == "alpha")
    # The end of `slow`, of `failing`, and of their tick, which began the day before, and the start of `failing`.
    place = found(second_day, "continued", node_id="alpha") + 1
    assert report.unjudged == [
        f"4 lines of alpha ({alpha.incarnation}), since what it wrote before j:{place} is not here",
        "1 entries of runners that were not at work: their term is not known",
    ]
    del second_day[found(second_day, "runner_completed", runner="quick")]
    assert rules(judged(second_day)) == {"ends"}


def test_lines_that_nobody_signed_are_counted_and_not_judged(history: dict[str, Lines]) -> None:
    lines = [line for line in told(history) if line["stage"] not in ("started", "continued")]
    report = judged(lines + lines)
    assert (report.violations, report.writer_count) == ([], 0)
    assert report.unowned_line_count == len(lines) * 2
    assert report.unjudged == [
        f"{len(lines) * 2} lines stand before any line that says who writes (the first is j:1): they are counted only"
    ]


def test_a_run_that_is_told_twice_is_a_copy_and_is_judged_once(history: dict[str, Lines]) -> None:
    lines = told(history)
    copied = [line | {"file": f"copy of {line['file']}"} for line in lines]
    assert "copy" in rules(judged(sorted(lines + copied, key=lambda line: str(line["ts"]))))
    report = judged(lines + copied)
    assert rules(report) == {"copy", "I14"}
    assert report.run_count == judged(lines).run_count


def test_after_lost_lines_only_what_begins_after_them_is_judged(history: dict[str, Lines]) -> None:
    lines = [line for line in told(history) if line["file"] == "2026-04-01.jsonl"]
    lost = found(lines, "runner_started", 4)
    gap = lines[lost] | {"runner": FRAMEWORK, "stage": "journal_lost", "lost_entry_count": 5}
    for cut in range(lost, len(lines)):
        cut_lines = [*lines[:lost], gap, *lines[cut:]]
        report = judged(cut_lines)
        assert report.violations == [], cut
        assert report.lost_entry_count == 5
    # Nothing of what was missed can be told, but of a tick that is there as a whole everything.
    cut_lines = [*lines[:lost], gap, *lines[lost + 3 :]]
    del cut_lines[found(cut_lines, "runner_completed", -1)]
    assert rules(judged(cut_lines)) == {"ends"}
    assert any("since 5 of its entries were lost before j:" in sentence for sentence in judged(cut_lines).unjudged)


def test_a_term_that_begins_within_another_a_release_and_a_stop_in_a_tick_are_told() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    alpha.lead(1, 1)
    alpha.lead(2, 2)
    alpha.tick(3, "a")
    alpha.lead(4, 2, "leader_ended")
    alpha.add(5, FRAMEWORK, "stopped", "b")
    (within, stopped) = judged(lines).violations
    assert (within.rule, within.what) == ("I3", "alpha (run of alpha) begins term 2 while its term 1 goes on")
    assert (stopped.rule, stopped.what) == ("I14", "alpha (run of alpha) stopped with tick a in flight (j:4)")
    lines[-1]["stage"], lines[-1]["runner"] = "lease_released", LEASE
    (_, released) = judged(lines).violations
    assert (released.rule, released.what) == (
        "I7",
        "alpha (run of alpha) releases its lease with tick a in flight (j:4)",
    )


def test_a_loss_that_is_owned_up_to_behind_a_torn_line_leaves_no_doubt_whose_the_next_lines_are() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    alpha.lead(1, 1)
    alpha.tick(2, "a")
    alpha.add(2, FRAMEWORK, UNREADABLE, "b")
    alpha.add(3, FRAMEWORK, "journal_lost", "b", lost_entry_count=4)
    alpha.tick(4, "b")
    alpha.run(4, "b", 1)
    report = judged(lines)
    assert (report.violations, report.unjudged) == ([], [])
    assert (report.writer_count, report.lost_entry_count) == (1, 4)
    assert (report.unreadable_line_count, report.torn_line_count) == (1, 1)
    # That start told the term: another cannot follow.
    alpha.add(5, "r", "runner_completed", "b")
    alpha.run(6, "b", 2, "s")
    assert rules(judged(lines)) == {"I2"}


def test_of_a_writer_whose_leader_started_is_lost_a_start_still_says_whose_its_term_is() -> None:
    lines: Lines = []
    alpha, beta = Scribe(lines, "alpha"), Scribe(lines, "beta")
    alpha.begin()
    alpha.lead(1, 1)
    beta.begin(2, "continued")
    beta.tick(3, "b")
    beta.run(3, "b", 1)
    (found_out,) = judged(lines).violations
    assert found_out.what == (
        "beta (run of beta) starts r under term 1, but term 1 belongs to alpha (run of alpha) (j:2)"
    )


def test_lines_whose_writer_is_in_doubt_are_judged_among_themselves_and_by_their_terms() -> None:
    lines: Lines = []
    alpha, beta = Scribe(lines, "alpha"), Scribe(lines, "beta")
    alpha.begin()
    alpha.add(1, FRAMEWORK, "stopped", "b")
    alpha.add(2, FRAMEWORK, UNREADABLE, "b")
    alpha.lead(3, 1)
    alpha.tick(3, "a")
    alpha.run(4, "a", 1)
    beta.begin(4)
    beta.lead(5, 2)
    beta.tick(6, "b")
    beta.run(6, "b", 2)
    assert judged(lines).violations == []
    alpha.add(7, "r", "step", "a")
    alpha.add(7, "r", "step", "a")
    assert rules(judged(lines)) == {"I2"}


def test_a_loss_is_not_owned_up_to_by_a_writer_that_stopped() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    alpha.add(1, FRAMEWORK, "stopped", "b")
    alpha.add(2, FRAMEWORK, UNREADABLE, "b")
    alpha.add(3, FRAMEWORK, "journal_lost", "b", lost_entry_count=4)
    assert judged(lines).violations == []


def test_a_writer_whose_file_ends_unreadably_may_have_ended_anything_before_it_goes_on_in_another() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    alpha.lead(1, 1)
    alpha.tick(2, "a")
    alpha.run(3, "a", 1)
    alpha.add(4, "r", UNREADABLE, "a")
    alpha.begin(5, "continued")
    alpha.tick(6, "b")
    lines[-1]["file"] = lines[-2]["file"] = "the next day's"
    report = judged(lines)
    assert report.violations == []
    alpha.tick(7, "a", "tick_completed")
    lines[-1]["file"] = "the next day's"
    report = judged(lines)
    assert report.violations == []
    assert report.unjudged == [
        "1 lines of alpha (run of alpha), since not all that it wrote before j:6 is here in order"
    ]


@pytest.mark.parametrize("value", [None, "1", 1.0, True, [1], {"a": 1}, 0, -3, 10**30])
@pytest.mark.parametrize("name", ["term", "lease_name", "holder_id", "node_id", "incarnation", "host", "pid"])
def test_details_of_any_kind_are_taken(history: dict[str, Lines], name: str, value: object) -> None:
    lines = [dict(line, **{name: value}) if name in line else line for line in told(history)]
    report = judged(lines)
    assert report.line_count == len(lines)
    lines = [dict(line, **{name: value}) if line["stage"] == "worked" else line for line in told(history)]
    assert judged(lines).violations == []


@pytest.mark.parametrize("ts", ["", "yesterday", "2026-04-01", "9999-99-99T99:99:99.999Z", "2026-04-01T00:00:01.500"])
def test_times_that_are_none_are_not_compared_and_that_is_said(ts: str) -> None:
    lines = two_terms([(1500, "step"), (1500, "step")])
    for line in lines[-2:]:
        line["ts"] = ts
    report = judged(lines)
    assert report.violations == []
    assert report.unjudged == ["2 times that cannot be read were not compared"]


def test_the_first_hundred_violations_are_kept_and_all_are_counted() -> None:
    lines: Lines = []
    alpha = Scribe(lines, "alpha")
    alpha.begin()
    for number in range(250):
        alpha.tick(1, f"{number}", "tick_completed")
    report = judged(lines)
    assert (len(report.violations), report.violation_count) == (100, 250)


def test_entries_that_were_read_back_are_judged_as_they_are(tmp_path: Path) -> None:
    write_history(tmp_path)
    audit = JournalAudit()
    for entry in read_journal(tmp_path / "2026-04-01.jsonl"):
        audit.take("j", entry, "j")
    assert audit.close().violations == []


def test_what_is_remembered_does_not_grow_with_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conductor_jobs.audit._WRITERS_KEPT", 300)
    monkeypatch.setattr("conductor_jobs.audit_terms._TERMS_KEPT", 300)

    def peak(restarts: int) -> int:
        audit, line = JournalAudit(), JournalEntry("b", None, None, None, "r", "worked", "2026-04-01T00:00:00.000Z")
        tracemalloc.start()
        for number in range(restarts):
            lines: Lines = []
            alpha = Scribe(lines, "alpha", f"{number}")
            alpha.begin(number)
            alpha.lead(number, number + 1)
            alpha.tick(number, f"{number}")
            alpha.run(number, f"{number}", number + 1)
            if number % 2:
                alpha.add(number, FRAMEWORK, "stopped", "b")
            for each in lines:
                details = {key: each[key] for key in each.keys() - set(JournalEntry.__struct_fields__)}
                changes = {key: each[key] for key in ("batch_id", "runner", "stage", "ts")}
                audit.take("j", msgspec.structs.replace(line, **changes, details=details), f"j:{number}")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # What is kept of the latest writers, terms and findings is full by then.
    assert peak(4000) < 1.1 * peak(800)
