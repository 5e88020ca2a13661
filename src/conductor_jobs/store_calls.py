"""One call of a lease store, as the engine makes it: with a deadline, and with one kind of outcome at a time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from .failures import error_text

T = TypeVar("T")


class NoAnswer(Exception):
    """The store did not answer in time: whether it did what it was asked is unknown."""


class UselessGrant(Exception):
    """The store granted the lease in a way that work cannot begin under; `how` ends the sentence that says so."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the lease store granted the lease {how}")


async def call_store(call: Callable[[], Awaitable[T]], timeout: float) -> T:
    """Await the call for at most `timeout` seconds.

    Raises NoAnswer when that was not enough, and whatever Exception the store raises. Cancelling leaves the outcome
    of the call unknown; an error that comes along with the cancellation, as from a nursery inside a driver,
    is dropped, since outside of the cancelled scope it would pass for a fresh one.
    """
    with trio.move_on_after(timeout):
        try:
            return await call()
        except BaseExceptionGroup as group:
            _, cancellation = group.split(Exception)
            if cancellation is not None:
                raise cancellation from None
            raise
    raise NoAnswer(f"the lease store gave no answer within {timeout:g} s")


def problem_text(error: Exception) -> str:
    """Say what went wrong with a store, naming the type of error where its text may not be enough."""
    return (
        error_text(error)
        if isinstance(error, NoAnswer | UselessGrant)
        else f"{type(error).__name__}: {error_text(error)}"
    )
