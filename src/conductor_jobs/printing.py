"""Journal entries on standard output, for whoever reads there, if anybody does."""

import os
import queue
import threading
from collections.abc import Callable
from typing import final

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
