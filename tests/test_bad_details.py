"""Any object as a runner's result or detail, through real ticks into a real journal file: no entry is lost by it.

One line an entry, its seven keys intact; and what one runner hands over never costs another its turn (I15).
"""

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from conductor_jobs import JournalEntry, RunnerResult, TickContext, TimedJobs, read_journal

from .strategies import Closed, Slippery, anything, deep_group, fewer, huge, mappings, raisers, texts
from .support import make_conductor

KEYS = list(JournalEntry.__struct_fields__[:7])
Run = Callable[[TickContext], Awaitable[Any]]


def journal_of_one_tick(runners: dict[str, Run]) -> list[JournalEntry]:
    """Run the runners in one tick, and return what the file then holds, every line of it an entry of ours."""
    jobs = TimedJobs()
    for name, run in runners.items():
        jobs.register_runner(name, run)

    async def main(folder: Path) -> None:
        conductor, _ = make_conductor(jobs, log_dir=folder, autostart=False, wall_clock=lambda: 0.0)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            assert (await conductor.run_tick()).decision == "scheduled"
            await conductor.stop()
        assert conductor.status().entries_lost == 0

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder), clock=MockClock(autojump_threshold=0))
        (file,) = Path(folder).iterdir()
        journal = read_journal(file)
        entries = list(journal)
        assert journal.skipped == []
        for line in file.read_bytes().splitlines():
            assert [key for key, _ in json.loads(line, object_pairs_hook=list)][:7] == KEYS
    return entries


async def honest(ctx: TickContext) -> RunnerResult:
    return RunnerResult("fine", {"term": ctx.term})


def check(entries: list[JournalEntry], stages_of_careless: list[list[str]]) -> None:
    assert [entry.stage for entry in entries if entry.runner == "careless"] in stages_of_careless
    ends = [(entry.stage, entry.result, entry.details) for entry in entries if entry.runner == "honest"]
    assert ends[1:] == [("runner_completed", "fine", {"term": 1})]
    assert [entry.stage for entry in entries][-1] == "stopped"


COMPLETED = ["runner_started", "runner_completed"]
FAILED = ["runner_started", "runner_failed"]


@fewer(by=2)
@given(st.one_of(anything, mappings.map(lambda details: RunnerResult("ok", details)), texts.map(RunnerResult)))
def test_whatever_a_runner_returns_it_completes_or_fails_and_the_next_one_has_its_turn(outcome: Any) -> None:
    async def careless(ctx: TickContext) -> Any:
        return outcome

    check(journal_of_one_tick({"careless": careless, "honest": honest}), [COMPLETED, FAILED])


@fewer(by=2)
@given(st.builds(RunnerResult, anything, anything))
def test_a_result_of_any_fields_completes_or_fails_the_runner(outcome: RunnerResult) -> None:
    async def careless(ctx: TickContext) -> Any:
        return outcome

    check(journal_of_one_tick({"careless": careless, "honest": honest}), [COMPLETED, FAILED])


@fewer(by=2)
@given(
    st.fixed_dictionaries(
        {"stage": st.one_of(texts, anything)},
        optional={
            "result": st.one_of(texts, anything),
            "details": st.one_of(mappings, anything),
            "duration_ms": st.one_of(st.floats(), st.integers(), huge, anything),
            "error": st.one_of(texts, anything),
        },
    )
)
def test_whatever_is_logged_is_in_the_journal_or_raised_in_the_runner(fields: dict[str, Any]) -> None:
    logged = False

    async def careless(ctx: TickContext) -> None:
        nonlocal logged
        ctx.log(**fields)
        logged = True

    entries = journal_of_one_tick({"careless": careless, "honest": honest})
    stages = [entry.stage for entry in entries if entry.runner == "careless"]
    assert stages[0] == "runner_started"
    assert stages[-1] == ("runner_completed" if logged else "runner_failed")
    assert len(stages) == (3 if logged else 2)
    check([entry for entry in entries if entry.stage in (*COMPLETED, *FAILED, "stopped")], [COMPLETED, FAILED])


# What is plain comes back as it was ----------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=10,
)  # fmt: skip


@fewer(by=2)
@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key not in KEYS), plain, max_size=4))
def test_plain_details_come_back_as_they_were(details: dict[str, Any]) -> None:
    async def careless(ctx: TickContext) -> RunnerResult:
        ctx.log("noted", details=details)
        return RunnerResult(details=details)

    entries = journal_of_one_tick({"careless": careless, "honest": honest})
    assert [entry.details for entry in entries if entry.runner == "careless"][1:] == [details, details]


@fewer(by=2)
@given(mappings)
def test_no_detail_is_lost_or_takes_the_place_of_a_key(details: Any) -> None:
    count = -1

    async def careless(ctx: TickContext) -> RunnerResult:
        nonlocal count
        count = len(dict(details))
        return RunnerResult(details=details)

    entries = journal_of_one_tick({"careless": careless, "honest": honest})
    (end,) = [entry for entry in entries if entry.stage in ("runner_completed", "runner_failed")][:1]
    assert (end.stage == "runner_completed") == (count >= 0)
    assert count < 0 or len(end.details) == count
    assert end.runner == "careless"


# What is raised ------------------------------------------------------------------------------------------------------


errors = st.one_of(
    st.builds(Slippery),
    st.builds(ValueError, anything),
    st.builds(ValueError, texts),
    st.builds(lambda: Closed("x", [ValueError("y")])),
    st.builds(lambda: ExceptionGroup("both", [Slippery(), OSError(5, "\ud800")])),
    st.builds(deep_group, st.sampled_from([3, 600, 3000])),
)


@fewer(by=2)
@given(errors)
def test_whatever_a_runner_raises_is_its_failure_alone(error: Exception) -> None:
    async def careless(ctx: TickContext) -> None:
        raise error

    entries = journal_of_one_tick({"careless": careless, "honest": honest})
    check(entries, [FAILED])
    (failed,) = [entry for entry in entries if entry.stage == "runner_failed"]
    assert failed.error is not None


@fewer(by=4)
@given(st.one_of(raisers(), anything))
def test_resources_are_handed_on_untouched_whatever_they_are(resources: Any) -> None:
    async def main() -> None:
        conductor, journal = make_conductor(jobs, resources=resources, autostart=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            await conductor.run_tick()
            await conductor.stop()
        assert journal.one("tick_completed").details["failed_runner_count"] == 0

    async def careless(ctx: TickContext) -> None:
        assert ctx.resources is resources

    jobs = TimedJobs()
    jobs.register_runner("careless", careless)
    trio.run(main, clock=MockClock(autojump_threshold=0))
