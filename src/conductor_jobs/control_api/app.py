"""The ASGI application: who may ask, and for what. Nothing of what a client sends is logged."""

from collections.abc import Awaitable, Callable
from typing import Any, final

import msgspec
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..http_serving.address import names_loopback
from ..http_serving.bearer import bears
from ..http_serving.connections import Connection
from ..lease import LeaseStore
from ..stores import http_wire as wire
from ..stores.http_wire_runners import LARGEST_OF_RUNNERS, ClaimRequest, CursorQuery, CursorRequest, PauseRequest
from .asking import Refused
from .calls import Calls
from .exchange import LARGEST_BODY, answer_to, refusal
from .runner_calls import RunnerCalls


@final
class ControlAPI:
    """One store behind twelve routes. Whatever comes in is answered in the one envelope."""

    def __init__(self, store: LeaseStore, token: str | None, nursery: trio.Nursery) -> None:
        """`nursery` owns the tasks that watch the store. Without a token everybody on this machine may ask."""
        calls, of_runners = Calls(store, nursery), RunnerCalls(store)
        self._token = None if token is None else token.encode()
        self._routes = Starlette(
            routes=[
                _route("POST", "/v1/leader/acquire", wire.AcquireRequest, calls.acquire),
                _route("POST", "/v1/leader/release", wire.ReleaseRequest, calls.release),
                _route("GET", "/v1/leader", wire.LeaseQuery, calls.leader),
                _route("GET", "/v1/leader/wait", wire.WaitQuery, calls.wait),
                _route("POST", "/v1/controllers/heartbeat", wire.Heartbeat, calls.heartbeat),
                _route("GET", "/v1/controllers", wire.LeaseQuery, calls.controllers),
                _route("POST", "/v1/runners/claim", ClaimRequest, of_runners.claim, LARGEST_OF_RUNNERS),
                _route("GET", "/v1/runners/claims", wire.LeaseQuery, of_runners.claims),
                _route("POST", "/v1/runners/pause", PauseRequest, of_runners.pause),
                _route("GET", "/v1/runners/paused", wire.LeaseQuery, of_runners.paused),
                _route("POST", "/v1/runners/cursor/save", CursorRequest, of_runners.save_cursor, LARGEST_OF_RUNNERS),
                _route("GET", "/v1/runners/cursor", CursorQuery, of_runners.cursor),
            ],
            exception_handlers={HTTPException: _not_routed},
        )
        self._routes.router.redirect_slashes = False
        #: Answers everybody who waits for a release, for the server is about to end.
        self.stop: Callable[[], None] = calls.stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        if problem := self._why_not(Request(scope)):
            await refusal(problem)(scope, receive, send)
            return
        connection = scope.get("state", {}).get("connection")
        if isinstance(connection, Connection):
            connection.approve()
        await self._routes(scope, receive, send)

    def _why_not(self, request: Request) -> Refused | None:
        if not request.scope["http_version"].startswith("1"):
            return Refused(505, "http_version", "this server speaks HTTP/1.1.")
        if self._token is None:
            # A page in a browser on this machine must not get here by a name of its own (DNS rebinding).
            if not names_loopback(request.headers.get("host", "")):
                return Refused(403, "forbidden", "without a token, Host must be localhost or a loopback address.")
        elif not bears(request.headers.getlist("authorization"), self._token):
            return Refused(401, "unauthorized", "the bearer token is missing, or is not this server's.")
        return None


def _route(
    method: str,
    path: str,
    what: type[msgspec.Struct],
    call: Callable[[Any], Awaitable[msgspec.Struct]],
    largest: int = LARGEST_BODY,
) -> Route:
    async def endpoint(request: Request) -> Response:
        return await answer_to(request, what, call, largest)

    return Route(path, endpoint, methods=[method])


def _not_routed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = refusal(Refused(405, "method_not_allowed", "this route has another method, see Allow."))
        response.headers.update(error.headers or {})
        return response
    return refusal(Refused(404, "not_found", "the control API has no such route."))
