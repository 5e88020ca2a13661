"""The local API of a conductor, served on a socket of its own, and clients of it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import h11
import httpx2
import trio

from conductor_jobs import Conductor
from conductor_jobs.local_api import serve_local_api

TOKEN = "letmein-51d2e87f3a9c"
BEARER = {"authorization": f"Bearer {TOKEN}"}
PATIENCE = 60.0


class Event(NamedTuple):
    id: str
    kind: str
    data: Any


class Listener:
    """One stream of server-sent events, and the connection that it comes by."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._body = b""
        self.headers: dict[str, str] = {}
        self.retry: int | None = None
        self.comments = 0

    async def ask(self, headers: dict[str, str]) -> None:
        """Ask for the events, and await the head of the answer."""
        asked = {"host": "localhost", **headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in asked.items()]
        await self._stream.send_all(self._http.send(h11.Request(method="GET", target="/v1/events", headers=raw)) or b"")
        await self._stream.send_all(self._http.send(h11.EndOfMessage()) or b"")
        answer = await self._receive()
        assert isinstance(answer, h11.Response)
        assert answer.status_code == 200
        self.headers = {name.decode(): value.decode() for name, value in answer.headers}

    async def next(self) -> Event | None:
        """Return the next event, None at the end of the stream."""
        fields: dict[str, str] = {}
        with trio.fail_after(PATIENCE):
            while (line := await self._line()) is not None:
                name, _, value = line.partition(": ")
                if not line and "event" in fields:
                    return Event(fields["id"], fields["event"], json.loads(fields["data"]))
                if name == "retry":
                    self.retry = int(value)
                elif line.startswith(":"):
                    self.comments += 1
                elif line:
                    fields[name] = value
        return None

    async def wait_for(self, kind: str) -> Event:
        """Return the next event of a kind."""
        with trio.fail_after(PATIENCE):
            while True:
                event = await self.next()
                assert event is not None, f"the stream ended without {kind}"
                if event.kind == kind:
                    return event

    async def rest(self) -> list[Event]:
        """Return all events until the end of the stream."""
        events: list[Event] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def _line(self) -> str | None:
        while b"\n" not in self._body:
            event = await self._receive()
            if not isinstance(event, h11.Data):
                return None
            self._body += event.data
        line, _, self._body = self._body.partition(b"\n")
        return line.decode()

    async def _receive(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._stream.receive_some()))
        return event


class Site:
    """A server, and a client that bears the token if it is told to."""

    def __init__(self, conductor: Conductor, urls: list[str], client: httpx2.AsyncClient) -> None:
        self.conductor = conductor
        self.urls = urls
        self.client = client
        self.port = int(urls[0].rpartition(":")[2])

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers=headers)

    async def json(self, path: str) -> Any:
        response = await self.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, headers: dict[str, str] = BEARER, **options: Any) -> httpx2.Response:
        return await self.client.post(path, headers=headers, **options)

    @asynccontextmanager
    async def listening(self, **headers: str) -> AsyncGenerator[Listener]:
        """Listen to the events; a header's name is written with underscores."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            listener = Listener(stream)
            await listener.ask({name.replace("_", "-"): value for name, value in headers.items()})
            yield listener

    async def wait_until(self, path: str, **fields: object) -> Any:
        """Ask until the answer has these values."""
        with trio.fail_after(PATIENCE):
            while True:
                answer = await self.json(path)
                if fields.items() <= answer.items():
                    return answer
                await trio.sleep(0.02)


@asynccontextmanager
async def served(
    conductor: Conductor, *, token: str | None = TOKEN, url: str = "http://127.0.0.1:0", running: bool = True
) -> AsyncGenerator[Site]:
    """Run a conductor and serve its local API while the block lasts; afterwards both are stopped."""
    async with trio.open_nursery() as nursery:
        if running:
            await nursery.start(conductor.run)

        async def serve(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve_local_api(conductor, url, token=token, task_status=task_status)

        urls = await nursery.start(serve)
        base = urls[0].replace("0.0.0.0", "127.0.0.1")
        async with httpx2.AsyncClient(base_url=base, timeout=PATIENCE) as client:
            yield Site(conductor, urls, client)
        nursery.cancel_scope.cancel()
