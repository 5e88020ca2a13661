"""Journal entries on standard output, for whoever reads there, if anybody does."""

import contextlib
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
        self._lines: queue.Queue[bytes | None] = queue.Queue(BACKLOG)
        self._thread = threading.Thread(target=self._print_lines, name="journal printer", daemon=True)
        self._thread.start()
        self.dropped: int = 0

    def add(self, entry: JournalEntry) -> None:
        """Take an entry, or count it as dropped while the reader is too far behind."""
        try:
            self._lines.put_nowait(self._render(entry))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def close(self) -> None:
        """Give the reader a second for what is left."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_CLOSING_PATIENCE)
            self._thread.join(_CLOSING_PATIENCE)

    def _print_lines(self) -> None:
        # Once the reader has gone there is nobody to print for, but entries go on coming.
        with contextlib.suppress(OSError):
            while (line := self._lines.get()) is not None:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            return
        while self._lines.get() is not None:
            pass
