"""The command `conductor-jobs logs`: what it takes, prints and returns."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import trio

from .cli_journals import SkippedLines, journal_arguments, places_of
from .journal_folders import journal_files
from .journal_tails import JournalTails, NewLine
from .log_lines import PersonLines, Selection
from .printing import printed, reader_has_left, reader_may_leave, wants_colour
from .stderr import tell

# Seconds from one look at the folders to the next.
LOOK_INTERVAL = 0.25

Render = Callable[[NewLine], Iterator[bytes]]


@click.command("logs")
@journal_arguments
@click.option("--failed", is_flag=True, help="only what failed, was lost, missed or cut short")
@click.option("--follow", "-f", "go_on", is_flag=True, help="go on with what is written from now on, until Ctrl-C")
@click.option("--json", "as_json", is_flag=True, help="print the journal's lines as they are")
def logs_command(
    paths: tuple[Path, ...],
    since: str,
    runners: frozenset[str],
    failed: bool,
    go_on: bool,
    as_json: bool,
    **flags: str | None,
) -> int:
    """Print the entries of the journals in DIR..., of one or several nodes, in the order of time.

    DIR is a folder with *.jsonl files, or one such file; without DIR it is the folder that `start` would write to.
    Times are local; behind the time stands the node, where several may be writing. Exit code 0; 2: bad input; 130:
    ended by Ctrl-C.
    """
    places = places_of(paths, flags)
    if not go_on:
        journal_files(places)
    skipped = SkippedLines()
    tails = JournalTails(places, skipped.add, since[:10])
    selection = Selection(since, runners, failed)
    render = _as_it_is if as_json else _for_person(PersonLines(lambda: tails.several_writers))
    try:
        with reader_may_leave():
            if go_on:
                trio.run(follow, tails, selection, render, places)
            else:
                _print(tails, selection, render)
                tails.finish()
    finally:
        skipped.close()
    return 0


async def follow(tails: JournalTails, selection: Selection, render: Render, places: Sequence[Path]) -> None:
    """Print what is new, again and again, until nobody reads it any more. Cancelling ends it."""
    for place in places:
        if not place.exists():
            tell(f"conductor-jobs: waiting for {place}, which does not exist yet")
    while not reader_has_left():
        _print(tails, selection, render)
        await trio.sleep(LOOK_INTERVAL)


def _print(tails: JournalTails, selection: Selection, render: Render) -> None:
    if sys.stdout is None:
        return
    for line in tails.new_lines():
        if selection.takes(line.facts):
            sys.stdout.buffer.writelines(render(line))
    sys.stdout.flush()


def _as_it_is(line: NewLine) -> Iterator[bytes]:
    yield line.text


def _for_person(lines: PersonLines) -> Render:
    coloured = sys.stdout is not None and wants_colour(sys.stdout)

    def render(line: NewLine) -> Iterator[bytes]:
        for text in lines.of(line):
            yield printed(text, coloured=coloured)

    return render
