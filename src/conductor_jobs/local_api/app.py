"""The ASGI application: who may ask, and what becomes of what goes wrong. Nothing of what a client sends is logged."""

import traceback
from contextlib import ExitStack
from typing import Final, Self, final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..conductor import Conductor
from ..http_serving.connections import Connection
from ..stderr import tell
from .cluster import Cluster
from .commands import Commands
from .events import Events
from .exposition import Exposition
from .guard import Guard
from .page_files import PageFiles
from .publisher import Publisher
from .recent import Recent
from .refusals import Refused, refusal
from .registered import Registered
from .routes import Routes
from .streams import MOST_LISTENERS, EventStreams
from .views import Views

_EVENTS: Final = "/v1/events"


@final
class LocalAPI:
    """The local API of one conductor, for as long as it is entered: it takes part in the conductor's journal."""

    def __init__(
        self, conductor: Conductor, token: str | None, *, exposed: bool, most_listeners: int = MOST_LISTENERS
    ) -> None:
        """`exposed`: others than this machine can connect, so that reading needs the token too."""
        page = PageFiles()
        self._conductor = conductor
        self._guard = Guard(token, exposed=exposed, page=page.paths)
        self._recent = Recent()
        self._events = Events()
        cluster = Cluster(conductor)
        views = Views(conductor, self._recent, cluster, self._events, self._guard.writable)
        self._publisher = Publisher(conductor, self._recent, cluster, views, self._events)
        registered = Registered(conductor, self._recent)

        def runners_changed() -> None:
            registered.forget()
            self._publisher.runners_changed()

        commands = Commands(conductor, runners_changed)
        self._metrics = Exposition(conductor)
        self._routes = Routes(views, cluster, registered, commands, page, self._metrics)
        self._streams = EventStreams(self._events, most_listeners)
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        self._entered.enter_context(self._conductor.journaling_to(self._recent))
        self._entered.enter_context(self._metrics)
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered.close()

    def start(self, nursery: trio.Nursery) -> None:
        """Start what makes events, and what measures the loop."""
        self._metrics.start(nursery)
        nursery.start_soon(self._publisher.look_around)
        nursery.start_soon(self._publisher.ask_around)

    def stop(self) -> None:
        """Send those who listen away, with the last events."""
        self._publisher.look()
        self._events.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        request = Request(scope, receive)
        if problem := self._guard.why_not(request):
            await refusal(problem)(scope, receive, send)
            return
        connection = scope.get("state", {}).get("connection")
        if isinstance(connection, Connection):
            connection.approve()
        if scope["path"] == _EVENTS and scope["method"] in ("GET", "HEAD"):
            await self._streams(scope, receive, send)
        else:
            response = await self._answer(request)
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._routes.answer(request)
        except Refused as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told of here, and not to whoever asks
            tell(f"conductor-jobs: local API: {''.join(traceback.format_exception(error))}")
            return refusal(Refused(500, "internal", "the server has a fault, see its output."))
