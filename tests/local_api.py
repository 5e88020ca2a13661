"""The local API of a conductor, served on a socket of its own, and clients of it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2
import trio

from conductor_jobs import Conductor
from conductor_jobs.local_api import serve_local_api

TOKEN = "letmein-51d2e87f3a9c"
BEARER = {"authorization": f"Bearer {TOKEN}"}
PATIENCE = 20.0


class Event(NamedTuple):
    id: str
    kind: str
    data: Any


class Listener:
    """One stream of server-sent events."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.retry: int | None = None
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Event | None:
        """Return the next event, None at the end of the stream."""
        fields: dict[str, str] = {}
        with trio.fail_after(PATIENCE):
            async for line in self._lines:
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
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.stream("GET", "/v1/events", headers=named) as response:
            yield Listener(response)

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
