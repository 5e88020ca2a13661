"""Connections to a Redis server, by coredis: each used by one call at a time, and discarded when a call was given up.

coredis serves a connection with tasks. They live in the nursery of `connections`, so whoever opened that owns
them. coredis would send several requests down one connection and leave it in use when one of them hangs; here a
connection is lent to one call, alone, and comes back only after a clean answer. So no heartbeat holds up a renewal,
no stale answer meets a later question, and a dead connection costs one call.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final, final

import trio
from anyio.abc import ByteStream
from coredis import exceptions as refusals
from coredis.connection import TCPConnection, TCPLocation

from ..errors import Unusable
from ..failures import error_text
from .redis_scripts import Script
from .redis_streams import connected, root_cause
from .redis_url import RedisAddress


class ServerRefused(Exception):
    """The server answered that it will not; later it may."""


@final
class Connection:
    """A connection that one call has to itself."""

    def __init__(self, address: RedisAddress, connection: TCPConnection) -> None:
        self._address = address
        self._connection = connection

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as is known, with nothing unread."""
        return self._connection.reusable

    def discard(self) -> None:
        """Close it, whatever may be under way."""
        self._connection.invalidate()

    async def ask(self, command: bytes, *arguments: str | bytes) -> object:
        """Send a command and return its answer. Raises Unusable, ServerRefused or ConnectionError, in plain words."""
        try:
            return await self._connection.create_request(command, *arguments)
        except refusals.RedisError as error:
            raise _explained(error, self._address) from error

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str]) -> object:
        """Run a script, which is sent along once to a server that does not have it. Raises what `ask` does."""
        rest = (str(len(keys)), *keys, *arguments)
        try:
            return await self._connection.create_request(b"EVALSHA", script.sha, *rest)
        except refusals.NoScriptError:
            return await self.ask(b"EVAL", script.source, *rest)
        except refusals.RedisError as error:
            raise _explained(error, self._address) from error

    def subscribe(self, channel: str) -> None:
        """Subscribe, without waiting for the answer; whatever is asked next is answered after the subscription began.

        Where it is denied, the next question gets to hear so: the refusal has no question of its own to answer.
        """
        try:
            self._connection.send_command(b"SUBSCRIBE", channel)
        except refusals.RedisError as error:
            raise _explained(error, self._address) from error

    async def pushed(self) -> object:
        """Wait for what the server says unasked, and return it. Cancelling loses nothing. Raises ConnectionError."""
        try:
            async with aclosing(self._connection.push_messages) as messages:
                return await anext(messages)
        except refusals.RedisError as error:
            raise _explained(error, self._address) from error


@final
class Connections:
    """The connections of one nursery."""

    def __init__(self, address: RedisAddress, nursery: trio.Nursery) -> None:
        self._address = address
        self.nursery: trio.Nursery = nursery
        self._run = trio.lowlevel.current_trio_token()
        self._kept: list[Connection] = []

    @property
    def are_of_this_run(self) -> bool:
        """Whether they belong to the Trio run that asks."""
        return self._run is trio.lowlevel.current_trio_token()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[Connection]:
        """Lend a connection to one call, and keep it for the next one."""
        connection = self._idle() or await self._opened()
        try:
            yield connection
        except BaseException:
            # An answer may still be under way, and must not be taken for that to the next question.
            connection.discard()
            raise
        self._kept.append(connection)

    @asynccontextmanager
    async def given(self) -> AsyncGenerator[Connection]:
        """Open a connection for one use, and close it after that."""
        connection = await self._opened()
        try:
            yield connection
        finally:
            connection.discard()

    def _idle(self) -> Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.usable:
                return connection
            connection.discard()
        return None

    async def _opened(self) -> Connection:
        address = self._address
        connection = _GreetedConnection(await connected(address), address)
        try:
            await self.nursery.start(partial(_serve, connection))
        except refusals.RedisError as error:
            # Where the greeting is cancelled coredis raises an error of its own in the place of that.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise _explained(error, address) from error
        return Connection(address, connection)


@asynccontextmanager
async def connections(address: RedisAddress) -> AsyncGenerator[Connections]:
    """Open the nursery of connections to a server; leaving closes them. Errors of the body come out as they are."""
    problem: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield Connections(address, nursery)
            except BaseException as error:  # noqa: BLE001 - raised below, not wrapped in a group by the nursery
                problem = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Only an interrupt can strike in a task of coredis: it comes before whatever it did to the body.
        if problem is None or group.split(trio.Cancelled)[1] is not None:
            raise
    if problem is not None:
        raise problem


async def _serve(connection: TCPConnection, *, task_status: trio.TaskStatus[None]) -> None:
    greeted = trio.Event()
    connection.register_connect_callback(lambda _: greeted.set())
    try:
        await connection.run(task_status=task_status)
    except Exception:
        # Later on, whoever asks the next question is told; nothing may rise out of the nursery.
        if not greeted.is_set():
            raise


@final
class _GreetedConnection(TCPConnection):
    """What coredis makes of a stream that is connected already: it leaves a mess where it cannot connect."""

    def __init__(self, stream: ByteStream, address: RedisAddress) -> None:
        location = TCPLocation(address.host, address.port)
        super().__init__(location, username=address.user, password=address.password, db=address.database)
        self._connected = stream

    async def _connect(self) -> ByteStream:
        return self._connected


_MEANINGS: Final[Sequence[tuple[type[refusals.RedisError], str]]] = (
    (refusals.AuthenticationError, "refused the login"),
    (refusals.AuthorizationError, "does not allow its user that"),
    (refusals.ReadOnlyError, "is a read-only replica"),
    (refusals.BusyLoadingError, "is loading its data"),
    (refusals.AskError, "is a node of a Redis Cluster, which is not supported, and keeps that lease elsewhere"),
    (refusals.UnknownCommandError, "lacks a command; Redis 6 or Valkey is needed"),
    (refusals.ResponseError, "answered with an error"),
)


def _explained(error: refusals.RedisError, address: RedisAddress) -> Exception:
    if isinstance(error, refusals.WrongTypeError):
        return Unusable(f"{address} has something under our keys that is not ours: {error_text(error)}")
    for kind, meaning in _MEANINGS:
        if isinstance(error, kind):
            return ServerRefused(f"{address} {meaning}: {error_text(error)}")
    return ConnectionError(f"{address} cannot be reached: {root_cause(error)}")
