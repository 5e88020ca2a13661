"""The command `python -m conductor_jobs.testing`: simulate seed after seed, and judge what happened."""

import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import click

from .scenario import Scenario
from .simulation import report_of


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="how many")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="the first of them")
@click.option("--hours", type=click.FloatRange(0.1), default=1.0, show_default=True, help="simulated hours a seed")
@click.option("--nodes", type=click.IntRange(1, 100), default=3, show_default=True, help="nodes of the cluster")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True, help="processes to share the work")
def main(seeds: int, first: int, hours: float, nodes: int, processes: int) -> None:
    """Simulate a cluster under the faults of seed after seed; exit code 1 if an invariant was violated."""
    try:
        scenario = Scenario(nodes=nodes, duration=hours * 3600)
    except ValueError as error:  # click takes nan for a number of any range
        raise click.UsageError(str(error)) from None
    began, violated = time.perf_counter(), 0
    # Each in an interpreter of its own: a fork would share the state of Trio and of `random`.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        reports: Iterable[str | None] = pool.map(
            partial(report_of, scenario=scenario), range(first, first + seeds), chunksize=4
        )
        for report in reports:
            if report is not None:
                violated += 1
                click.echo(report)
    took = time.perf_counter() - began
    click.echo(f"{seeds} seeds of {hours:g} simulated hours: {violated} with violations ({took:.0f} s)")
    sys.exit(1 if violated else 0)


if __name__ == "__main__":
    main()
