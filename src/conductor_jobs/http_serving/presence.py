"""Working for a client for as long as it waits for the answer."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, final

import trio

T = TypeVar("T")
Receive = Callable[[], Awaitable[Any]]


@final
class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def while_there(receive: Receive, call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call returns; its request is read to the end. Raises ClientGone once the client has gone.

    The call is cancelled then.
    """
    # The answers are parted from the nursery, which would wrap an error in a group.
    answers: list[T] = []
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
        try:
            answers.append(await call())
        except Exception as error:  # noqa: BLE001 - raised below
            problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if not answers:
        raise ClientGone
    return answers[0]


async def cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel the scope once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
