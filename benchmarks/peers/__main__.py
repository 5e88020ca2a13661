"""What one execution of a no-op job costs, here and with other schedulers.

    python -m benchmarks.peers [--json] [--brief] [--plot FILE.svg]

N jobs are due at once, and again as soon as they have run, so that each scheduler works as fast as it can. The job does
nothing but count, and what is divided by is what was counted. Everything of theirs is in memory and journals
nothing. Each case runs in an interpreter of its own, the contenders of one N by turns in the same minutes; medians, and
the medians of ratios of runs that stood side by side. The extra `bench` installs the contenders, but for APScheduler 4:
that cannot be installed beside 3, so pip puts it in `build/apscheduler4` at the first run (not with --brief).
Whoever is not installed is named as absent.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import final

import click
import msgspec

from ..measuring import Cell, Table, alternate, command, paired_ratio, run_module
from ..ticks import one_case
from . import installed
from .plot import draw

SIZES, BRIEF_SIZES = (1, 10, 100, 1_000), (10,)
ROUNDS, BRIEF_ROUNDS = 5, 1
SECONDS, BRIEF_SECONDS = 0.4, 0.1
OURS = "conductor-jobs, journal on"


@final
class Contender(msgspec.Struct, frozen=True):
    """A scheduler. `run` takes N and seconds and returns microseconds per execution; None: it is not installed."""

    run: Callable[[int, float], float] | None
    lacks: str


def tables(*, brief: bool, plot: Path | None = None) -> list[Table]:
    """Measure everybody who is installed; `plot` is the file for a picture of it."""
    contenders = _contenders(install=not brief)
    measured = {
        size: _by_turns(contenders, size, BRIEF_SECONDS if brief else SECONDS, BRIEF_ROUNDS if brief else ROUNDS)
        for size in (BRIEF_SIZES if brief else SIZES)
    }
    if plot is not None:
        names = [name for name, contender in contenders.items() if contender.run]
        medians = {name: [(size, statistics.median(measured[size][name])) for size in measured] for name in names}
        draw(medians, plot, emphasised=OURS)
    return [_costs(contenders, measured), _ratios(contenders, measured), _lacks(contenders)]


def _contenders(*, install: bool) -> dict[str, Contender]:
    folder = installed.apscheduler4_folder(install=install)
    apscheduler3 = partial(_peer, "apscheduler3") if installed.has_apscheduler3() else None
    apscheduler4 = partial(_peer, "apscheduler4", folder=folder) if folder else None
    schedule = partial(_peer, "sync_schedule") if installed.has("schedule") else None
    nothing = "no leader, no journal, no term that cancels late work"
    return {
        OURS: Contender(partial(_tick, "our_ticks", 1), "runs the jobs of a tick one after the other, not at once"),
        "conductor-jobs, no journal": Contender(partial(_tick, "our_ticks", 0), "as above, and no journal"),
        "a bare Trio loop, journal on": Contender(
            partial(_tick, "bare_loop", 1), "no leader, no term, no timeouts, no threads; see bare_loop.py"
        ),
        "APScheduler 3 (asyncio)": Contender(apscheduler3, nothing),
        "APScheduler 4.0.0a6 (Trio)": Contender(
            apscheduler4, "no journal; no leader: its shared stores hand each job to one of several schedulers"
        ),
        "trio_util.periodic": Contender(partial(_peer, "trio_periodic"), f"{nothing}; one exception ends all jobs"),
        "schedule": Contender(schedule, f"{nothing}; synchronous jobs only; one exception ends all jobs"),
    }


def _tick(module: str, log: int, jobs: int, seconds: float) -> float:
    return one_case(module, jobs, "a", log, seconds)


def _peer(module: str, jobs: int, seconds: float, *, folder: Path | None = None) -> float:
    python_path = None if folder is None else str(folder)
    return float(run_module(f"benchmarks.peers.{module}", jobs, seconds, python_path=python_path)["us_run"])


def _by_turns(contenders: Mapping[str, Contender], size: int, seconds: float, rounds: int) -> dict[str, list[float]]:
    cases = {name: partial(contender.run, size, seconds) for name, contender in contenders.items() if contender.run}
    return alternate(cases, rounds)


Measured = Mapping[int, Mapping[str, list[float]]]


def _costs(contenders: Mapping[str, Contender], measured: Measured) -> Table:
    rows: list[list[Cell]] = [
        [name, *(statistics.median(taken[name]) if name in taken else None for taken in measured.values())]
        for name in contenders
    ]
    absent = [name for name, contender in contenders.items() if contender.run is None]
    note = f"Not installed: {', '.join(absent)}." if absent else ""
    return Table("Microseconds per execution, N jobs due at once", ["", *_sizes(measured)], rows, note)


def _ratios(contenders: Mapping[str, Contender], measured: Measured) -> Table:
    rows: list[list[Cell]] = [
        [name, *(paired_ratio(taken, name, OURS) if name in taken else None for taken in measured.values())]
        for name in contenders
        if name != OURS
    ]
    return Table(f"How many times what {OURS}, costs", ["", *_sizes(measured)], rows)


def _lacks(contenders: Mapping[str, Contender]) -> Table:
    rows: list[list[Cell]] = [[name, contender.lacks] for name, contender in contenders.items()]
    return Table("What each does not do", ["", "does not do"], rows)


def _sizes(measured: Measured) -> list[str]:
    return [f"N = {size:,}" for size in measured]


OPTION = click.Option(["--plot"], type=click.Path(dir_okay=False, path_type=Path), help="Draw a picture: FILE.svg.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
