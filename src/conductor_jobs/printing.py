"""Journal entries on standard output, for whoever reads there, if anybody does."""

import contextlib
import os
import queue
import select
import sys
import threading
from collections.abc import Callable, Generator
from typing import TextIO, final

import click

from .journal import JournalEntry
from .journal_format import encode_line

# A reader this far behind is not reading; its lines are in the journal's files all the same.
BACKLOG = 10_000
_CLOSING_PATIENCE = 1.0


@final
class JournalPrinter:
    """Writes each entry to a file descriptor, as `render` makes a line of it, on a thread.

    On the loop's thread a reader that stalls would hold up the renewals, and so cost the lease.
    """

    def __init__(self, descriptor: int, render: Callable[[JournalEntry], bytes] = encode_line) -> None:
        self._descriptor = descriptor
        self._render = render
        # A SimpleQueue, whose put may be called from a finaliser in the middle of another put.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._print_lines, name="journal printer", daemon=True)
        self.dropped: int = 0
        self.problem: OSError | None = None
        self._thread.start()

    def add(self, entry: JournalEntry) -> None:
        """Take an entry, or count it as dropped while the reader is too far behind."""
        if self._lines.qsize() < BACKLOG:
            self._lines.put(self._render(entry))
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def close(self) -> None:
        """Give the reader a second for what is left."""
        self._lines.put(None)
        self._thread.join(_CLOSING_PATIENCE)

    def _print_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            # After a write has failed, only keep the queue from filling.
            if self.problem is not None:
                self.dropped += 1
                continue
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError as error:
                self.problem = error
                self.dropped += 1


def wants_colour(stream: TextIO) -> bool:
    """Return whether there is somebody at a terminal who has not asked for no colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def printed(line: str, *, coloured: bool) -> bytes:
    """Return a line with its newline, with or without the colours that are in it."""
    return f"{line if coloured else click.unstyle(line)}\n".encode(errors="replace")


@contextlib.contextmanager
def reader_may_leave() -> Generator[None, None, None]:
    """Print within: a reader that goes away, as `head` does, has seen what it wanted; what is left is dropped."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Also at the exit, when what is left in the buffer is written.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reader_has_left() -> bool:
    """Return whether standard output is a pipe that nobody reads any more, or is none at all."""
    if sys.stdout is None:
        return True
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in watch.poll(0))
    except (OSError, ValueError):  # a stream without a descriptor
        return False
