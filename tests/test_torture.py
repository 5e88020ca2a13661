"""A short torture of real processes, broken engines that one must find out, and the judge's other rules.

The long one is a command: `python -m tests.torture --rounds 500`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from conductor_jobs import JournalEntry, read_journal
from conductor_jobs.journal import FRAMEWORK, LEASE
from conductor_jobs.journal_format import encode_line
from conductor_jobs.testing.effects import Effect

from .torture.cluster import PATIENCE, ROOT, wait_until
from .torture.evidence import Deed, DeedKind, EffectsReader, Folder, Hand, Setup, effect_line
from .torture.faults import KINDS, Fault, Round, plan
from .torture.figures import Figure, figures
from .torture.judging import judge, judge_deeds
from .torture.torture import Torture, around

# The leader is hit by every kind of fault, and once killed beside a node that is frozen; in few seconds.
SEED = 1069
FREEZE = Round(0.3, (Fault("freeze", None, 2.0),))


async def test_processes_that_are_killed_frozen_and_stopped_never_lead_two_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    torture = Torture(Setup(SEED), Folder(tmp_path / "evidence"))
    violations = await torture.run(plan(SEED, 6, 3, torture.setup.ttl))
    assert [str(violation) for violation in violations] == []
    assert torture.rounds_done == 6
    assert len({effect.term for effect in EffectsReader(torture.folder.effects).fresh()}) >= 4
    for figure in figures(torture.folder):
        record_property(figure.name, list(figure.seconds))


# The others are found by the command, `--broken`, in more rounds than a test should take.
@pytest.mark.parametrize(("broken", "rounds"), [("no-holder", []), ("no-deadline", [FREEZE] * 5)])
async def test_a_broken_engine_is_found_out(broken: str, rounds: list[Round], tmp_path: Path) -> None:
    torture = Torture(Setup(0, broken=broken), Folder(tmp_path / "evidence"))
    violations = await torture.run(rounds)
    assert "I3" in {violation.rule for violation in violations}
    late = violations[0].what.split()[0]
    shown = list(around(torture.folder, violations[0]))
    assert any(f"'life': '{late}'" in line for line in shown)
    assert any('"leader_started"' in line for line in shown)


# Nothing is left behind


async def test_a_torture_that_is_cancelled_leaves_no_process_behind_not_even_a_frozen_one(tmp_path: Path) -> None:
    torture = Torture(Setup(0), Folder(tmp_path / "evidence"))
    forever = Round(0, (Fault("freeze", 0, 1000),))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(torture.run, [forever])
        await trio.testing.wait_all_tasks_blocked()
        assert await wait_until(lambda: "freeze" in [deed.what for deed in torture.folder.deeds()])
        nursery.cancel_scope.cancel()
    assert [pid for pid in pids(torture.folder) if is_alive(pid)] == []


def test_a_torture_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "evidence")
    command = [sys.executable, "-m", "tests.torture", "--folder", str(folder.path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as popen:
        wait_for(lambda: folder.effects.is_file() and folder.effects.stat().st_size > 0)
        popen.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, pids(folder))))


def pids(folder: Folder) -> list[int]:
    found = [entry.details["pid"] for entry in read_journal(folder.journal) if entry.stage == "started"]
    assert found
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc/self").exists() else True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The faults


def test_the_seed_alone_decides_the_faults() -> None:
    assert plan(7, 30, 3, 1.0) == plan(7, 30, 3, 1.0) != plan(8, 30, 3, 1.0)
    assert plan(7, 30, 3, 1.0)[:10] == plan(7, 10, 3, 1.0)


def test_of_six_rounds_each_kind_of_fault_is_one_and_one_is_two_at_once() -> None:
    for seed in range(50):
        alone = [planned.faults[0].kind for planned in plan(seed, 6, 3, 1.0) if len(planned.faults) == 1]
        assert sorted(alone) == sorted(KINDS)


# What the judge says of deeds, journals and stderr


def deeds(*whats: tuple[float, DeedKind, int | None]) -> list[Deed]:
    return [Deed(at, 1, what, "n1.1", code) for at, what, code in whats]


@pytest.mark.parametrize(
    ("happened", "found"),
    [
        ([(1, "kill", None), (2, "ended", -9)], []),
        ([(1, "drain", None), (3, "ended", 0)], []),
        ([(1, "drain", None), (3, "ended", 1)], ["n1.1 was told to stop, and ended with exit code 1"]),
        ([(1, "drain", None), (3, "ended", -15)], ["n1.1 was told to stop, and ended with exit code -15"]),
        ([(1, "drain", None), (65, "ended", 0)], ["n1.1 took 64.0 s to stop, not 2 s"]),
        ([(1, "freeze", None), (3, "ended", 0)], ["n1.1 ended by itself, with exit code 0"]),
        ([(1, "stuck", None)], ["n1.1 was waited for in vain, for 60 s"]),
        ([(1, "leaderless", None)], ["nobody led for 60 s, though every node was healthy"]),
    ],
)
def test_a_life_does_what_it_is_told_and_nothing_else(
    happened: list[tuple[float, DeedKind, int | None]], found: list[str]
) -> None:
    assert [violation.what for violation in judge_deeds(deeds(*happened), stop_bound=2)] == found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "evidence")
    folder.make(Setup(0))
    folder.note(Deed(0, 0, "started", "n1.1", None))
    folder.stderr("n1.1").touch()
    return folder


def write_journal(folder: Folder, name: str, *steps: str | int) -> None:
    """Write the start of a life for a text, and the start of a term for a number."""
    with (folder.journal / name).open("wb") as file:
        for step in steps:
            details = {"version": step} if isinstance(step, str) else {"term": step}
            who, stage = (FRAMEWORK, "started") if isinstance(step, str) else (LEASE, "leader_started")
            file.write(encode_line(JournalEntry("b-1", None, None, None, who, stage, "2026-11-23T00:00:00Z", details)))


def whats(folder: Folder) -> list[str]:
    return [violation.what for violation in judge(folder)]


def test_terms_that_rise_and_have_one_life_each_are_admitted(folder: Folder) -> None:
    write_journal(folder, "a.jsonl", "n1.1", 1, 4, "n2.1", 5)
    write_journal(folder, "b.jsonl", "n3.1", 2, 3)
    Hand(folder.effects, "n1.1").act(4, "steady", 0.0)
    assert whats(folder) == []


def test_a_term_in_the_journals_of_two_lives_is_found(folder: Folder) -> None:
    write_journal(folder, "a.jsonl", "n1.1", 1)
    write_journal(folder, "b.jsonl", "n2.1", 1)
    assert whats(folder) == ["term 1 was that of n1.1 and of n2.1"]


def test_a_life_whose_terms_do_not_rise_is_found(folder: Folder) -> None:
    write_journal(folder, "a.jsonl", "n1.1", 2, 1)
    assert whats(folder) == ["n1.1 led in term 1 after term 2"]


def test_an_effect_that_no_journal_answers_for_is_found(folder: Folder) -> None:
    write_journal(folder, "a.jsonl", "n1.1", 1)
    Hand(folder.effects, "n1.1").act(2, "steady", 0.0)
    assert whats(folder) == ["n1.1 acted in term 2, and its journal knows of no such term"]


def test_a_traceback_on_stderr_is_found(folder: Folder) -> None:
    folder.stderr("n1.1").write_text("a word to the wise\n")
    assert whats(folder) == []
    folder.stderr("n1.1").write_text("Traceback (most recent call last):\n  …\nOSError: gone\n")
    assert whats(folder) == ["OSError: gone"]


def test_what_was_noted_is_read_back_once(folder: Folder) -> None:
    reader = EffectsReader(folder.effects)
    Hand(folder.effects, "n1.1").act(3, "steady", 1.5)
    (effect,) = reader.fresh()
    assert effect == Effect(effect.at, 3, "n1.1", 1.5)
    Hand(folder.effects, "n2.1").act(4, "thread", 2.5)
    assert [effect.life for effect in reader.fresh()] == ["n2.1"]


# The figures


def test_what_failovers_handovers_and_stops_took_is_read_from_the_folder(folder: Folder) -> None:
    n1, n2, n3 = (1, "n1.1"), (2, "n2.1"), (3, "n3.1")
    for at, (term, life) in [(1.0, n1), (9.5, n1), (11.5, n2), (18.5, n2), (20.0, n2), (20.5, n3)]:
        with folder.effects.open("ab") as file:
            file.write(effect_line(Effect(at, term, life, at), "steady"))
    folder.note(Deed(2, 1, "freeze", "n2.1", None))  # a standby
    folder.note(Deed(10, 2, "kill", "n1.1", None))
    folder.note(Deed(19, 3, "drain", "n2.1", None))
    folder.note(Deed(20.25, 3, "ended", "n2.1", 0))
    assert [figure.seconds for figure in figures(folder)] == [[1.5], [], [], [], [0.5], [1.25]]


def test_a_figure_is_a_row_of_least_median_95th_percentile_and_most() -> None:
    assert str(Figure("x", [float(n) for n in range(100, 0, -1)])).split() == [
        *("x", "100", "1.000", "50.000", "95.000", "100.000"),
    ]
    assert str(Figure("x", [])).split() == ["x", "0"]
