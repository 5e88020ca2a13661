"""Every benchmark, one after the other; then the tables and the picture in benchmarks/README.md are those of this run.

    python -m benchmarks [--json] [--brief]

It takes about ten minutes. With --brief it only shows that all of them run, and the README stays as it is. The
extra `bench` is needed for the other schedulers and the picture; without it, they are named as absent.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from . import failover, fairness, idle, journal, local_api, memory, reading, scale, schedules, stores, ticks, watching
from .measuring import ROOT, Table, command, machine
from .peers import __main__ as peers
from .peers import installed

README = ROOT / "benchmarks" / "README.md"
PICTURE = README.with_name("cost_per_runner.svg")
BEGIN, END = "<!-- tables: written by `python -m benchmarks` -->", "<!-- end of tables -->"


def tables(*, brief: bool) -> list[Table]:
    """Run everything; in the full form, write the README's tables and the picture."""
    about = machine()
    measured: dict[str, list[Table]] = {}
    for name, module in MODULES.items():
        began = time.perf_counter()
        measured[name] = module(brief=brief)
        click.echo(f"benchmarks.{name}: {time.perf_counter() - began:.0f} s", err=True)
    if not brief:
        write_tables(README, about, measured)
    return [about, *(table for each in measured.values() for table in each)]


def _peers(*, brief: bool) -> list[Table]:
    return peers.tables(brief=brief, plot=PICTURE if installed.has("matplotlib") and not brief else None)


MODULES: dict[str, Callable[..., list[Table]]] = {
    "ticks": ticks.tables,
    "peers": _peers,
    "fairness": fairness.tables,
    "journal": journal.tables,
    "failover": failover.tables,
    "stores": stores.tables,
    "scale": scale.tables,
    "schedules": schedules.tables,
    "idle": idle.tables,
    "memory": memory.tables,
    "watching": watching.tables,
    "local_api": local_api.tables,
    "reading": reading.tables,
}


def write_tables(file: Path, about: Table, measured: Mapping[str, Sequence[Table]]) -> None:
    """Put the tables between the two marks in a file, in place of those that are there."""
    before, _, rest = file.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [about.markdown()]
    for name, tables_of in measured.items():
        parts += [f"## `python -m benchmarks.{name}`", *(table.markdown() for table in tables_of)]
    text = "\n\n".join(parts)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


main = command(tables)

if __name__ == "__main__":
    main()
