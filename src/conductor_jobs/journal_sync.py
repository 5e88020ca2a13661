"""What `journal_sync="tick"` asks for: after each tick the disk confirms the journal's files, off the loop."""

from collections.abc import Callable
from typing import final

import trio

from .journal_files import JournalFiles


@final
class JournalSync:
    """The confirmations that ticks and runs wait for, each in a cancel scope of its own."""

    def __init__(self, files: JournalFiles | None, is_cutting: Callable[[], bool]) -> None:
        """`files` is None when nothing is to be confirmed; while `is_cutting()`, nobody begins to wait."""
        self._files = files
        self._is_cutting = is_cutting
        self._waits: set[trio.CancelScope] = set()

    async def after_tick(self) -> None:
        """Have the disk confirm what a tick has written. Cancelling stops the waiting only."""
        if self._files is None or self._is_cutting():
            return
        with trio.CancelScope() as wait:
            self._waits.add(wait)
            try:
                await self._files.sync()
            finally:
                self._waits.discard(wait)

    def cut(self) -> None:
        """Let nobody wait any longer: a disk that hangs holds up no stop."""
        for wait in self._waits:
            wait.cancel()
