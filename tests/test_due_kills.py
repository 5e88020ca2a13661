"""Kill -9 at the due second, a few times; and the judge of the ledger, who has to notice what is not exact.

The long one is a command: `python -m tests.torture --due-kills 30`.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conductor_jobs import JournalEntry

from .torture.due_kills import DueKills
from .torture.evidence import Folder, Setup
from .torture.ledger import Run, judge_ledger, runs

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.timeout(180)
async def test_leaders_that_are_killed_at_the_due_second_leave_an_exact_ledger(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "evidence")
    violations = await DueKills(Setup(3, nodes=2), folder).run(3)
    assert [str(violation) for violation in violations] == []
    assert [deed.what for deed in folder.deeds()].count("restart") == 3
    assert len({run.term for run in runs(folder.ledger)}) >= 3


def entered(runner: str, *seconds: int) -> list[Run]:
    return [Run(runner, NOON + timedelta(seconds=second), 1, "n1.1") for second in seconds]


def entry(runner: str, stage: str, result: str, **seconds: int) -> JournalEntry:
    details = {name: (NOON + timedelta(seconds=each)).isoformat() for name, each in seconds.items()}
    return JournalEntry("b-1", None, None, result, runner, stage, "2026-11-23T12:00:00Z", details)


@pytest.mark.parametrize(
    ("ledger", "journal", "found"),
    [
        (entered("once", 0, 1, 2), [], []),
        (entered("once", 0, 2), [], ["once due at 2026-11-23T12:00:01+00:00 was neither run nor told of"]),
        (entered("once", 0, 1, 1), [], ["once due at 2026-11-23T12:00:01+00:00 was run 2 times"]),
        (entered("once", 0, 2), [entry("once", "run_unknown", "unknown", due_at=1)], []),
        (
            entered("once", 0, 1, 1),
            [entry("once", "run_unknown", "unknown", due_at=1)],
            ["once due at 2026-11-23T12:00:01+00:00 was run 2 times"],
        ),
        (entered("again", 0, 1, 1), [entry("again", "run_unknown", "unknown", due_at=1)], []),
        (
            entered("once", 0, 3),
            [entry("once", "runner_misfired", "run_once", first_due_at=1, last_due_at=3, run_due_at=3)],
            [],
        ),
        (
            entered("once", 0, 4),
            [entry("once", "runner_misfired", "run_once", first_due_at=1, last_due_at=3, run_due_at=3)],
            ["once due at 2026-11-23T12:00:03+00:00 was neither run nor told of"],
        ),
        (
            entered("each", 0, 1, 3),
            [entry("each", "runner_misfired", "run_all", first_due_at=1, last_due_at=3, run_due_at=1)],
            ["each due at 2026-11-23T12:00:02+00:00 was neither run nor told of"],
        ),
        (entered("skips", 0, 2), [entry("skips", "runner_skipped", "misfire", first_due_at=1, last_due_at=1)], []),
        (
            entered("once", 0, 2),
            [entry("once", "runner_skipped", "misfire", first_due_at=1, last_due_at=1)],
            ["once due at 2026-11-23T12:00:01+00:00 was neither run nor told of"],
        ),
    ],
)
def test_a_ledger_that_is_not_exact_is_found_out(
    ledger: list[Run], journal: list[JournalEntry], found: list[str]
) -> None:
    assert [violation.what for violation in judge_ledger(ledger, journal)] == found
