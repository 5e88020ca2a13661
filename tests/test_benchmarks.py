"""The benchmarks run; what they measure is reported by them and asserted nowhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from benchmarks.__main__ import BEGIN, END, MODULES, README, write_tables
from benchmarks.bare_loop import BareLoop, LinesFile, logs
from benchmarks.flat_out import Case
from benchmarks.measuring import Table, alternate, paired_ratio, percentile, shown
from benchmarks.our_ticks import no_op_jobs

from conductor_jobs import Conductor, read_journal
from conductor_jobs.stores.memory import MemoryLeaseStore

ROOT = Path(__file__).parent.parent
# They come with this library's own dependencies; the others with the extra `bench`, if somebody installed that.
ALWAYS_INSTALLED = {
    "conductor-jobs, journal on",
    "conductor-jobs, no journal",
    "a bare Trio loop, journal on",
    "trio_util.periodic",
}


def run(module: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_store_that_is_none_is_refused_in_words() -> None:
    command = [sys.executable, "-m", "benchmarks.stores", "--store", "nope"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "'--store': store must be `sqlite:///PATH`" in done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_every_module_fills_its_tables(module: str) -> None:
    tables = run(module, "--brief", "--json")
    assert tables
    for table in tables:
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_a_scheduler_that_is_not_installed_is_named_as_absent() -> None:
    costs, *_ = run("peers", "--brief", "--json")
    measured = {name for name, *figures in costs["rows"] if None not in figures}
    absent = {name for name, *_ in costs["rows"]} - measured
    assert measured >= ALWAYS_INSTALLED
    assert {name for name, *_ in costs["rows"] if name in costs["note"]} == absent


def test_a_store_that_is_named_is_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lease.db"
    calls, handovers = run("stores", "--brief", "--json", "--store", url, "--store", "memory:")
    assert [row[:2] for row in calls["rows"]] == [
        [name, call] for name in (url, "memory:") for call in ("renewal", "refused campaign", "heartbeat")
    ]
    assert [row[0] for row in handovers["rows"]] == [url]


@pytest.mark.parametrize("module", ["ticks", "bare_loop"])
@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("log", ["0", "1"])
def test_one_case_finds_every_line_of_its_journal(module: str, variant: str, log: str) -> None:
    measured = run(module, "10", variant, log, "0.1")
    assert (measured["ok"], measured["bad"]) == (True, 0)


def test_the_bare_loop_writes_the_lines_that_ours_writes(tmp_path: Path) -> None:
    async def ours() -> None:
        store, jobs = MemoryLeaseStore(), no_op_jobs(Case(2, "b", True, 0))
        conductor = Conductor(jobs, store=store, log_dir=tmp_path / "ours", autostart=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.run_tick()
            conductor.request_stop()

    async def bare() -> None:
        file = LinesFile(tmp_path)
        await BareLoop({f"renewal.runner-{number}": logs for number in range(2)}, file).tick()
        file.close()

    trio.run(ours)
    trio.run(bare)
    keys: list[list[tuple[str, list[str]]]] = [
        [(entry.stage, sorted(entry.details)) for entry in read_journal(folder)]
        for folder in (tmp_path / "ours", tmp_path / "bare.jsonl")
    ]
    assert [each for each in keys[0] if each[0].startswith(("tick_", "runner_", "scan_"))] == keys[1]


def test_contenders_run_there_and_back_again() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[], float]:
        def measure() -> float:
            order.append(name)
            return float(len(order))

        return measure

    taken = alternate({name: contender(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abccbaabc"
    assert taken == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert paired_ratio(taken, "b", "a") == 8 / 7


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(range(100, 0, -1), share) == value


@pytest.mark.parametrize(
    ("cell", "text"), [(None, "–"), ("a", "a"), (10_000, "10,000"), (1234.5, "1,234"), (0.01234, "0.0123"), (2.0, "2")]
)
def test_people_read_three_digits(cell: str | float | None, text: str) -> None:
    assert shown(cell) == text


def test_the_tables_of_a_run_replace_those_before_them(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    about, table = Table("Machine", ["what"], [["this"]]), Table("Ticks", ["N", "µs"], [[1, 2.5]], note="A note.")
    write_tables(file, about, {"ticks": [table]})
    assert file.read_text() == (
        f"# Before\n\n{BEGIN}\n\n**Machine**\n\n| what |\n| ---- |\n| this |\n\n## `python -m benchmarks.ticks`\n\n"
        f"**Ticks**\n\n|  N |  µs |\n| -: | --: |\n|  1 | 2.5 |\n\nA note.\n\n{END}\n\nAfter\n"
    )


def test_the_readme_of_the_benchmarks_names_every_module_and_has_a_place_for_the_tables() -> None:
    text = README.read_text()
    assert text.index(BEGIN) < text.index(END)
    assert [module for module in MODULES if f"| `{module}` |" not in text] == []
