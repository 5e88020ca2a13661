"""A control API without a network: a server over any store, and clients of it."""

import json
from typing import Any

import httpx2
import trio

from conductor_jobs.control_api.app import ControlAPI
from conductor_jobs.lease import LeaseStore
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.memory import MemoryLeaseStore

TOKEN = "letmein"
CLIENT_STAYS = 3.0


class Polled:
    """A store that can do nothing besides keeping leases, as a user's own may be."""

    def __init__(self, store: MemoryLeaseStore) -> None:
        self.acquire = store.acquire
        self.release = store.release


class Site:
    """A server without a network, and clients of it."""

    def __init__(self, store: LeaseStore, nursery: trio.Nursery, token: str | None = TOKEN) -> None:
        self.api = ControlAPI(store, token, nursery)
        self.transport = httpx2.ASGITransport(self.api)
        self.store = HTTPLeaseStore("http://localhost", token, transport=self.transport)

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        async with httpx2.AsyncClient(transport=self.transport, base_url="http://localhost", timeout=None) as client:
            return await client.request(method, path, headers=headers, **options)

    async def send(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """POST a body, in pieces that may be left unread, and go away after a while."""
        pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            if not pieces:
                await trio.sleep(CLIENT_STAYS)
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            answers.append(message)

        given = {"authorization": f"Bearer {TOKEN}"} | headers
        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"", "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        await self.api(scope, receive, send)
        return answers[0]["status"], json.loads(answers[1]["body"])

    async def post(self, path: str, **body: object) -> httpx2.Response:
        return await self.ask("POST", path, json=body)


def refused(response: httpx2.Response) -> tuple[int, str]:
    envelope = response.json()
    assert envelope.keys() == {"ok", "error", "message"}
    assert envelope["ok"] is False
    assert response.headers["connection"] == "close"
    return response.status_code, envelope["error"]
