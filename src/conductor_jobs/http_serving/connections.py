"""Connections, no more of them than can be served, and none that brings nothing.

hypercorn sets no limit to their number, sends under a shield for as long as the other side pleases, and keeps the
task of a connection that has ended until it would have been idle for too long. Here a slow or silent client costs a
place for half a minute, whatever it does, one that has gone costs none, and no stop waits for any.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

#: Seconds that a connection has for its first request that bears the token, and for the next header after an answer.
IDLE_TIMEOUT: Final = 30.0
#: Seconds in which the other side must take what is sent.
SEND_TIMEOUT: Final = 10.0


@final
class Connection(trio.abc.HalfCloseableStream):
    """A client's connection, with its limits of time."""

    def __init__(self, stream: trio.SocketStream, closed: Callable[[], None]) -> None:
        """Take over a stream; `closed` is called once, when it is closed."""
        #: What hypercorn asks for the addresses.
        self.socket: trio.socket.SocketType = stream.socket
        self._stream = stream
        self._closed: Callable[[], None] | None = closed
        self._receiving = trio.CancelScope()
        self._sending = trio.CancelScope()
        self._sent_by = math.inf
        #: Awaited when nothing more will be received, and by a server that stops.
        self.wind_up: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self._deadline = trio.current_time() + IDLE_TIMEOUT

    def approve(self) -> None:
        """Lift the limit on the time until its first request: it has brought one that is answered."""
        self._deadline = self._receiving.deadline = math.inf

    def end_sending_by(self, deadline: float) -> None:
        """Have the other side take everything by then: hypercorn's sending obeys no other cancellation."""
        self._sent_by = deadline
        self._sending.deadline = min(self._sending.deadline, deadline)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive. Raises BrokenResourceError when no request came in time."""
        received: bytes | bytearray = b""
        try:
            with trio.CancelScope(deadline=self._deadline) as self._receiving:
                received = await self._stream.receive_some(max_bytes)
        finally:
            if not received:
                await self.wind_up()
        if self._receiving.cancelled_caught:
            raise trio.BrokenResourceError("no request came in time")
        return bytes(received)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send. Raises BrokenResourceError, and is closed, when the other side does not take it in time."""
        try:
            deadline = min(trio.current_time() + SEND_TIMEOUT, self._sent_by)
            with trio.CancelScope(deadline=deadline) as self._sending:
                return await self._stream.send_all(data)
        except trio.BusyResourceError:
            raise trio.ClosedResourceError("another task is just saying that nothing more will be sent") from None
        await trio.aclose_forcefully(self)
        raise trio.BrokenResourceError("the answer was not taken in time")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it, and give its place free."""
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
        await self._stream.aclose()


@final
class LimitedListener(trio.abc.Listener[Connection]):
    """Accepts while there are places; who comes besides waits in the kernel's queue."""

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> Connection:
        """Return the next connection, once there is a place for it."""
        await self._places.acquire()
        try:
            stream = await self._listener.accept()
        except BaseException:
            self._places.release()
            raise
        return Connection(stream, self._places.release)

    async def aclose(self) -> None:
        """Stop listening."""
        await self._listener.aclose()
