"""Cursors: how far a runner has come, as a text of its own, kept in the lease store and fenced by the term."""

from collections.abc import Awaitable
from typing import Protocol, final

import trio

from .failures import shown
from .lease import LeaseStore
from .runner_records import CursorStore, keeps_cursors
from .store_calls import call_for_user
from .threads import await_on_loop, on_loop_of, threads_inline


class Cursors(Protocol):
    """Who keeps cursors for the contexts of runners; the test kit has one in memory."""

    def load(self, runner: str, /) -> Awaitable[str | None]:
        """Return the cursor that was saved last, or None."""
        ...

    def save(self, runner: str, term: int, cursor: str, /) -> Awaitable[None]:
        """Keep a cursor. Raises StaleTerm, keeping nothing, unless the term is the lease's present one."""
        ...

    def load_sync(self, runner: str, /) -> str | None:
        """Return what `load` does, in a thread."""
        ...

    def save_sync(self, runner: str, term: int, cursor: str, /) -> None:
        """Do what `save` does, in a thread."""
        ...


@final
class StoredCursors:
    """Cursors in the lease store; each call takes `timeout` seconds at the most."""

    def __init__(self, store: LeaseStore, lease_name: str, timeout: float) -> None:
        """Begin in the Trio run that the store is used in."""
        self._store = store
        self._lease_name = lease_name
        self._timeout = timeout
        self._token = trio.lowlevel.current_trio_token()

    def load(self, runner: str) -> Awaitable[str | None]:
        """See `Cursors.load`. Raises RuntimeError off the loop, before anything is awaited."""
        self._require_loop("load_cursor")
        return self._load(runner)

    def save(self, runner: str, term: int, cursor: str) -> Awaitable[None]:
        """See `Cursors.save`. Raises RuntimeError off the loop, before anything is awaited."""
        self._require_loop("save_cursor")
        return self._save(runner, term, cursor)

    def load_sync(self, runner: str) -> str | None:
        """See `Cursors.load_sync`. Raises RuntimeError on a loop."""
        _require_thread("load_cursor")
        return await_on_loop(self._token, lambda: self._load(runner))

    def save_sync(self, runner: str, term: int, cursor: str) -> None:
        """See `Cursors.save_sync`. Raises RuntimeError on a loop."""
        _require_thread("save_cursor")
        await_on_loop(self._token, lambda: self._save(runner, term, cursor))

    async def _load(self, runner: str) -> str | None:
        store = self._require_store()
        cursor = await call_for_user(lambda: store.load_cursor(self._lease_name, runner), self._timeout)
        if cursor is not None and not isinstance(cursor, str):
            raise TypeError(f"{type(store).__name__}.load_cursor returned {shown(cursor)}, which is no text")
        return cursor

    async def _save(self, runner: str, term: int, cursor: str) -> None:
        store = self._require_store()
        await call_for_user(lambda: store.save_cursor(self._lease_name, runner, term, cursor), self._timeout)

    def _require_store(self) -> CursorStore:
        if not keeps_cursors(self._store):
            raise RuntimeError(f"{type(self._store).__name__} keeps no cursors: it has no load_cursor and save_cursor.")
        return self._store

    def _require_loop(self, method: str) -> None:
        if not on_loop_of(self._token):
            raise RuntimeError(
                f"ctx.{method}() is to be awaited on the conductor's loop; this is a thread, or another loop: "
                f"call ctx.{method}_sync() here."
            )


def _require_thread(method: str) -> None:
    if not trio.lowlevel.in_trio_run():
        return
    if threads_inline.get():
        raise RuntimeError(
            f"ctx.{method}_sync() needs a thread to wait in, and under threads_inline() a plain runner has none: test "
            f"it without, or by a tick_context(cursor=...). An async runner awaits ctx.{method}()."
        )
    raise RuntimeError(f"ctx.{method}_sync() would block the loop: use `await ctx.{method}()` here.")


def checked_cursor(cursor: str, field: str = "ctx.save_cursor: cursor") -> str:
    """Return a cursor as a text that every store can keep.

    Raises TypeError for what is no text, ValueError for one with NUL, or that UTF-8 cannot hold.
    """
    if not issubclass(type(cursor), str):
        raise TypeError(f"{field} must be a text, not {shown(cursor)}.")
    text = str.__str__(cursor)
    unfit = text.find("\0")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        unfit = error.start
    if unfit >= 0:
        raise ValueError(
            f"{field} must be a text that UTF-8 can hold, without NUL, but its character {unfit} is {text[unfit]!r}."
        )
    return text
