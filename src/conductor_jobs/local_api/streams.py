"""One listener's stream of events, as ASGI: what he missed, what comes, and a sign of life when nothing does.

Nothing is kept for him: while he does not read, his task waits in its send, until the connection's limit of time has
it end (`http_serving.connections`), and the events that he misses are thrown away as they would be without him.
"""

import socket
from typing import Final, final

import msgspec
import trio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from .._version import __version__
from ..http_serving.connections import Connection
from ..http_serving.presence import cancel_when_gone
from .events import Events
from .refusals import HEADERS, Refused, refusal

MOST_LISTENERS: Final = 256
#: Seconds without an event after which a comment is sent: proxies end what is silent, and who has gone is found out.
HEARTBEAT: Final = 15.0
#: Milliseconds after which a browser that has lost the connection comes again.
RETRY_MS: Final = 2000
# Of the kernel's, for one who does not read: a few pages of events, in place of megabytes.
_SEND_BUFFER: Final = 32 * 1024


@final
class EventStreams:
    """Answers `GET /v1/events`."""

    def __init__(self, events: Events, most_listeners: int = MOST_LISTENERS) -> None:
        self._events = events
        self._most = most_listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one listener, until he has gone or there will be no more events."""
        events = self._events
        if events.listeners >= self._most:
            problem = Refused(503, "too_many_listeners", f"{self._most} others are listening already.")
            await refusal(problem)(scope, receive, send)
            return
        headers = HEADERS | {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        # Counted until he has left, whatever he does not read.
        events.listeners += 1
        try:
            _keep_little_for(scope)
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            if scope["method"] == "GET":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                    await self._send_events(send, Request(scope).headers.get("last-event-id"))
                    nursery.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            events.listeners -= 1

    async def _send_events(self, send: Send, last_event_id: str | None) -> None:
        events = self._events
        place = events.latest if last_event_id is None else events.place(last_event_id)
        greeting = b"retry: %d\n\n" % RETRY_MS
        if last_event_id is None:
            greeting += events.written("hello", msgspec.json.encode({"version": __version__}))
        await _send(send, greeting)
        while True:
            batch = None if place is None else events.after(place)
            if batch is None:
                place = events.latest
                await _send(send, events.written("reset", b'{"reason":"events were missed"}'))
            elif batch[0]:
                place = batch[1]
                await _send(send, batch[0])
            elif events.ended:
                return
            else:
                await self._wait(send)

    async def _wait(self, send: Send) -> None:
        with trio.move_on_after(HEARTBEAT) as heartbeat:
            await self._events.wait()
        if heartbeat.cancelled_caught:
            await _send(send, b":\n\n")


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def _keep_little_for(scope: Scope) -> None:
    connection = scope.get("state", {}).get("connection")
    if isinstance(connection, Connection):
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
