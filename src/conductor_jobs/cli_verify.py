"""The command `conductor-jobs verify`: what it takes, prints and returns."""

import os
import sys
from pathlib import Path

import click
import msgspec

from .rules import NON_NEGATIVE
from .verify import verify
from .verify_report import report_lines

_FINE, _VIOLATED = 0, 1


def _milliseconds(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    milliseconds = NON_NEGATIVE.parse(text)
    if milliseconds is None:
        raise click.BadParameter(f"must be {NON_NEGATIVE.words}, not {text!r}.")
    return int(milliseconds)


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option(
    "--max-clock-skew-ms",
    default="0",
    metavar=NON_NEGATIVE.metavar,
    callback=_milliseconds,
    help="by how much the clocks of two writers may differ: what lies closer together is no evidence  [0]",
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def verify_command(paths: tuple[Path, ...], max_clock_skew_ms: int, as_json: bool) -> int:
    """Judge the journals in DIR..., of one or several nodes: and say whether two leaders were ever at work.

    DIR is a folder with *.jsonl files, or one such file. Exit code 0: no violation; 1: a violation; 2: bad input.
    """
    report = verify(paths, max_clock_skew_ms)
    _print(msgspec.json.encode(report).decode() if as_json else "\n".join(report_lines(report)))
    return _VIOLATED if report.violation_count else _FINE


def _print(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        # A reader that has gone away, as `head` does, changes no verdict; nor may what is left for it, at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
