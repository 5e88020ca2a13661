"""What one execution of a runner costs, beside a bare Trio loop of the same durability.

    python -m benchmarks.ticks [--json] [--brief]
    python -m benchmarks.ticks N a|b 0|1 SECONDS     one case of ours, one line of JSON

Whole ticks of N no-op runners are asked for one after the other. Variant `a`: a runner returns a result; `b`: it logs
an entry of its own besides. Every case runs in an interpreter of its own, the cases of a row by turns in the same
minutes; a ratio is the median of the ratios of runs that stood side by side, and is all that should be quoted. A run
counts the lines of its journal and fails if one is missing.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial

from . import our_ticks
from .measuring import Cell, Table, alternate, command, paired_ratio, run_module

RUNNERS = (1, 10, 100, 1_000, 10_000)
ROUNDS, SECONDS = 5, 0.4
BRIEF_RUNNERS, BRIEF_ROUNDS, BRIEF_SECONDS = (10,), 1, 0.02


def tables(*, brief: bool) -> list[Table]:
    """Measure ours and the bare loop."""
    sizes = BRIEF_RUNNERS if brief else RUNNERS
    return [_throughput(sizes, brief=brief), _options(sizes[-3:], brief=brief)]


def one_case(module: str, runners: int, variant: str, log: int, seconds: float, *, option: str | None = None) -> float:
    """Run a case in a fresh interpreter; return microseconds per execution. Raises RuntimeError if it went wrong."""
    measured = run_module(f"benchmarks.{module}", runners, variant, log, seconds, *([option] if option else []))
    if not measured["ok"] or measured["bad"]:
        raise RuntimeError(f"{module} lost lines or ticks: {measured}")
    return float(measured["us_run"])


def _throughput(sizes: tuple[int, ...], *, brief: bool) -> Table:
    rows: list[list[Cell]] = []
    for variant in "b" if brief else "ab":
        for runners in sizes:
            taken = _by_turns(
                {
                    "ours": partial(one_case, "our_ticks", runners, variant, 1),
                    "bare": partial(one_case, "bare_loop", runners, variant, 1),
                    "ours, no journal": partial(one_case, "our_ticks", runners, variant, 0),
                    "bare, no journal": partial(one_case, "bare_loop", runners, variant, 0),
                },
                brief=brief,
            )
            ratio = paired_ratio(taken, "ours", "bare")
            rows.append([variant, runners, *map(statistics.median, taken.values()), ratio])
    columns = ["variant", "N", "ours", "bare loop", "ours, no journal", "bare, no journal", "ours ÷ bare loop"]
    return Table("Microseconds per runner execution, N runners a tick", columns, rows)


def _options(sizes: tuple[int, ...], *, brief: bool) -> Table:
    rows: list[list[Cell]] = []
    for runners in sizes:
        taken = _by_turns(
            {
                "plain": partial(one_case, "our_ticks", runners, "a", 1),
                "timeouts": partial(one_case, "our_ticks", runners, "a", 1, option="--timeouts"),
                "sync": partial(one_case, "our_ticks", runners, "a", 1, option="--sync"),
            },
            brief=brief,
        )
        added = [100 * (paired_ratio(taken, option, "plain") - 1) for option in ("timeouts", "sync")]
        per_tick = (statistics.median(taken["sync"]) - statistics.median(taken["plain"])) * runners / 1000
        rows.append([runners, statistics.median(taken["plain"]), *added, per_tick])
    columns = ["N", "µs, plain", "timeouts on all: + %", 'journal_sync="tick": + %', "sync: + ms a tick"]
    return Table("What two options add (variant a, journal on)", columns, rows)


def _by_turns(cases: dict[str, Callable[[float], float]], *, brief: bool) -> dict[str, list[float]]:
    seconds = BRIEF_SECONDS if brief else SECONDS
    contenders = {name: partial(case, seconds) for name, case in cases.items()}
    return alternate(contenders, BRIEF_ROUNDS if brief else ROUNDS)


main = command(tables)

if __name__ == "__main__":
    # Four arguments: whoever compares us with others runs one case at a time.
    our_ticks.main() if sys.argv[1:2] and sys.argv[1].isdigit() else main()
