"""The cursor of a context that no conductor made."""

from typing import final

import trio


@final
class MemoryCursor:
    """A cursor in memory, for one runner: each method works in a Trio run, in a thread, and without either."""

    def __init__(self, cursor: str | None) -> None:
        self._cursor = cursor

    async def load(self, _runner: str, /) -> str | None:
        """See `Cursors.load`. A cancelled call has changed nothing, here as in `save`."""
        await _checkpoint()
        return self._cursor

    async def save(self, _runner: str, _term: int, cursor: str, /) -> None:
        """See `Cursors.save`; there is no later term."""
        await _checkpoint()
        self._cursor = cursor

    def load_sync(self, _runner: str, /) -> str | None:
        """See `Cursors.load_sync`."""
        return self._cursor

    def save_sync(self, _runner: str, _term: int, cursor: str, /) -> None:
        """See `Cursors.save_sync`."""
        self._cursor = cursor


async def _checkpoint() -> None:
    if trio.lowlevel.in_trio_run():
        await trio.lowlevel.checkpoint()
