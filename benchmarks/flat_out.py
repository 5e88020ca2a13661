"""One case of a tick benchmark: so many no-op runners, ticks one after the other, and what is printed of it.

Whoever is measured gives one function that runs a tick; warming up, timing and the arguments are the same for all.
"""

import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import click
import msgspec

LINES_OF_A_TICK = 2  # tick_started, tick_completed
LINES_OF_A_RUNNER = {"a": 2, "b": 3}  # runner_started, in variant b an entry of its own, runner_completed


@final
class Case(msgspec.Struct, frozen=True):
    """How many `runners` a tick has, what they do (`variant`), whether it is journaled, and for how many seconds."""

    runners: int
    variant: str
    log: bool
    seconds: float


@final
class Ran(msgspec.Struct, frozen=True):
    """What `run_flat_out` saw: all ticks, those that were timed, the seconds they took, and those that were bad.

    `cpu_seconds` are those that its thread was at work.
    """

    ticks: int
    timed_ticks: int
    seconds: float
    cpu_seconds: float
    bad: int


async def run_flat_out(tick: Callable[[], Awaitable[bool]], seconds: float) -> Ran:
    """Await ticks for about `seconds`, after a warm-up. `tick` returns whether all went well."""
    warm, bad_warm = await _ticks(tick, min(0.5, seconds / 4))
    began, began_cpu = time.perf_counter(), time.thread_time()
    timed, bad = await _ticks(tick, seconds)
    took, took_cpu = time.perf_counter() - began, time.thread_time() - began_cpu
    return Ran(warm + timed, timed, took, took_cpu, bad_warm + bad)


async def _ticks(tick: Callable[[], Awaitable[bool]], seconds: float) -> tuple[int, int]:
    end = time.perf_counter() + seconds
    ticks = bad = 0
    while time.perf_counter() < end:
        bad += not await tick()
        ticks += 1
    return ticks, bad


def outcome(who: str, case: Case, ran: Ran, folder: Path | None, other_lines: int) -> dict[str, object]:
    """Return what is printed: `us_run` is microseconds per runner execution, `ok` that every line was found."""
    found = 0 if folder is None else sum(file.read_bytes().count(b"\n") for file in folder.iterdir())
    expected = other_lines + ran.ticks * (LINES_OF_A_TICK + case.runners * LINES_OF_A_RUNNER[case.variant])
    return {
        "who": who,
        "N": case.runners,
        "variant": case.variant,
        "us_run": ran.seconds / (ran.timed_ticks * case.runners) * 1e6,
        "cpu_us_run": ran.cpu_seconds / (ran.timed_ticks * case.runners) * 1e6,
        "lines": found,
        "ok": folder is None or found == expected,
        "bad": ran.bad,
    }


def case_command(measure: Callable[..., dict[str, object]], *options: click.Parameter) -> click.Command:
    """Make the command that measures one case and prints one line of JSON; `measure` is given the case and the options.

    Its arguments are `N a|b 0|1 SECONDS`.
    """

    def run(*, runners: int, variant: str, log: str, seconds: float, **given: Any) -> None:
        click.echo(json.dumps(measure(Case(runners, variant, log == "1", seconds), **given)))

    arguments = [
        click.Argument(["runners"], type=click.IntRange(min=1)),
        click.Argument(["variant"], type=click.Choice(sorted(LINES_OF_A_RUNNER))),
        click.Argument(["log"], type=click.Choice(["0", "1"])),
        click.Argument(["seconds"], type=float),
    ]
    return click.Command(None, params=[*arguments, *options], callback=run)


@contextmanager
def log_folder(case: Case) -> Generator[Path | None, None, None]:
    """Give a case a temporary folder for its journal, if it has one."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) if case.log else None
