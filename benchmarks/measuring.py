"""What every benchmark shares: tables, the command line, runs that alternate, the machine they ran on."""

import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, final

import click
import msgspec

from conductor_jobs import __version__

ROOT = Path(__file__).parent.parent
Cell = str | float | None
PACKAGES = ("trio", "msgspec", "trio-util", "APScheduler", "schedule")


@final
class Table(msgspec.Struct, frozen=True):
    """What was measured: numbers stay numbers here, and are rounded only where people read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown that is also readable as it stands."""
        grid = [list(self.columns), *([shown(cell) for cell in row] for row in self.rows)]
        widths = [max(2, *map(len, column)) for column in zip(*grid, strict=True)]
        to_the_left = [all(isinstance(cell, str) for cell in column) for column in zip(*self.rows, strict=True)]
        layout = list(zip(widths, to_the_left, strict=True))
        lines = ["| " + " | ".join(_aligned(cells, layout)) + " |" for cells in grid]
        lines.insert(
            1, "| " + " | ".join("-" * width if left else "-" * (width - 1) + ":" for width, left in layout) + " |"
        )
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])


def shown(cell: Cell) -> str:
    """Return a number with three significant digits, a text as it is, nothing as a dash."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if isinstance(cell, int) or abs(cell) >= 100 else f"{cell:.3g}"


def _aligned(cells: Sequence[str], layout: Sequence[tuple[int, bool]]) -> list[str]:
    return [cell.ljust(width) if left else cell.rjust(width) for cell, (width, left) in zip(cells, layout, strict=True)]


def command(tables: Callable[..., list[Table]], *parameters: click.Parameter) -> click.Command:
    """Make the command of a benchmark from the function that returns its tables.

    Its help is the docstring of the function's module. `tables` is given `brief`, and the values of `parameters`.
    """

    def run(*, as_json: bool, **given: Any) -> None:
        show(tables(**given), as_json=as_json)

    common = [
        click.Option(["--json", "as_json"], is_flag=True, help="Print the figures as JSON, unrounded."),
        click.Option(["--brief"], is_flag=True, help="Only see whether it runs: too short to mean anything."),
    ]
    text = inspect.getdoc(inspect.getmodule(tables)) or ""
    return click.Command(None, params=[*parameters, *common], callback=run, help=text.replace("\n\n", "\n\n\b\n"))


def show(tables: Sequence[Table], *, as_json: bool) -> None:
    """Print tables, for people or for programs."""
    if as_json:
        click.echo(msgspec.json.encode(tables))
    else:
        click.echo("\n\n".join(table.markdown() for table in tables))


def run_module(module: str, *arguments: object, python_path: str | None = None) -> dict[str, Any]:
    """Run a module in a fresh interpreter and return the line of JSON that it prints last.

    `python_path`: a folder whose packages come before those that are installed. Raises RuntimeError if it fails.
    """
    folders = [folder for folder in (python_path, os.environ.get("PYTHONPATH")) if folder]
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | ({"PYTHONPATH": os.pathsep.join(folders)} if folders else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each contender once a round, there and back again, so that a drift of the machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else [*contenders][::-1]:
            taken[name].append(contenders[name]())
    return taken


def paired_ratio(taken: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median over the rounds of `one` divided by `other`."""
    return statistics.median(a / b for a, b in zip(taken[one], taken[other], strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the maximum."""
    return percentile(values, 0.5), percentile(values, 0.99), max(values)


def machine() -> Table:
    """Describe what everything ran on."""
    rows: list[list[Cell]] = [
        ["processor", f"{_processor()}, {os.cpu_count()} cores"],
        ["system", f"{platform.system()} {platform.release()}"],
        ["temporary folder", _file_system(Path(tempfile.gettempdir()))],
        ["Python", f"{platform.python_implementation()} {platform.python_version()}"],
        ["packages", ", ".join([f"conductor-jobs {__version__}", *filter(None, map(_with_version, PACKAGES))])],
    ]
    return Table("Machine", ["what", "which"], rows)


def _with_version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/self/mounts")
    lines = [line.split() for line in mounts.read_text().splitlines()] if mounts.is_file() else []
    above = [(len(where), kind) for _, where, kind, *_ in lines if folder.resolve().is_relative_to(where)]
    return max(above)[1] if above else "unknown"
