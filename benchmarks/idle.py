"""What a node costs that has nothing to do: one leader and one standby with the default timing, on SQLite.

    python -m benchmarks.idle [--json] [--brief] [--seconds SECONDS]

Both are processes of their own, with the default interval of ten seconds, one no-op runner and a journal. They are
measured over the same real seconds, after their start: CPU time of the process (all threads, user and system), how
often a thread of it gave up the processor (`ru_nvcsw`: each wake-up ends in one), how often Trio's loop turned, and its
calls of the store.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click

from .measuring import Cell, Table, command, run_module

SECONDS, BRIEF_SECONDS = 20.0, 0.5
HOUR = 3600.0


def tables(*, brief: bool, seconds: float | None = None) -> list[Table]:
    """Measure a leader and a standby side by side."""
    seconds = seconds or (BRIEF_SECONDS if brief else SECONDS)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as both:
        measured = list(both.map(partial(run_module, "benchmarks.idle_node", folder), [seconds] * 2))
    rows: list[list[Cell]] = []
    for node in sorted(measured, key=lambda node: str(node["leadership"])):
        share = node["cpu_seconds"] / node["seconds"]
        per_second = [node[key] / node["seconds"] for key in ("switches", "turns")]
        calls = node["calls"] / node["seconds"] * HOUR
        rows.append([node["leadership"], 100 * share, share * HOUR, *per_second, calls])
    columns = [
        "node",
        "% of a core",
        "CPU s an hour",
        "wake-ups a second",
        "loop turns a second",
        "store calls an hour",
    ]
    return [Table(f"An idle node, over {seconds:g} s", columns, rows)]


OPTION = click.Option(["--seconds"], type=float, help=f"For how long, {SECONDS:g} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
