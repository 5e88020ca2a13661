"""What each route does, and who finds it: by path and method, and for a runner's routes by its name in between."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, final

from starlette.requests import Request
from starlette.responses import Response

from .cluster import Cluster
from .commands import DEFAULT_WAIT, LONGEST_WAIT, Commands
from .exposition import Exposition
from .openapi import description
from .outcomes import Health
from .page_files import PageFiles
from .recent import MOST_TICKS
from .refusals import Refused, json_answer
from .registered import Registered
from .requests import number, refuse_others, require_no_body, runner_named
from .views import Views

Handler = Callable[[Request], Awaitable[Response]]

DEFAULT_TICKS: Final = 100
#: On a page, and by default.
MOST_RUNNERS: Final = 1000
_OF_RUNNER: Final = re.compile(rb"/v1/runners/[^/]+/(pause|resume|run)")


@final
class Routes:
    """The routes but for the event stream, which is no answer that ends."""

    def __init__(
        self,
        views: Views,
        cluster: Cluster,
        registered: Registered,
        commands: Commands,
        page: PageFiles,
        metrics: Exposition,
    ) -> None:
        self._views = views
        self._registered = registered
        self._cluster = cluster
        self._commands = commands
        self._page = page
        self._metrics = metrics
        self._by_path: dict[str, Mapping[str, Handler]] = {
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/metrics": {"GET": self._metrics_text},
            "/openapi.json": {"GET": self._openapi},
            "/v1/status": {"GET": self._status},
            "/v1/nodes": {"GET": self._nodes},
            "/v1/runners": {"GET": self._runners},
            "/v1/ticks": {"GET": self._ticks, "POST": self._run_tick},
            "/v1/resign": {"POST": self._resign},
            **{path: {"GET": self._file} for path in page.paths},
        }
        self._by_action: dict[bytes, Mapping[str, Handler]] = {
            b"pause": {"POST": self._pause},
            b"resume": {"POST": self._resume},
            b"run": {"POST": self._run_now},
        }

    async def answer(self, request: Request) -> Response:
        """Answer a request. Raises Refused."""
        found = _OF_RUNNER.fullmatch(request.scope["raw_path"].partition(b"?")[0])
        handlers = self._by_path.get(request.url.path) if found is None else self._by_action[found[1]]
        if handlers is None:
            raise Refused(404, "not_found", "the local API has no such route, see /openapi.json.")
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = [*handlers, *(["HEAD"] if "GET" in handlers else [])]
            raise Refused(405, "method_not_allowed", "this route has another method.", allow=", ".join(allowed))
        return await handler(request)

    async def _healthz(self, _: Request) -> Response:
        if (problem := self._views.why_unhealthy()) is not None:
            raise problem
        return json_answer(Health())

    async def _readyz(self, _: Request) -> Response:
        if (problem := self._views.why_unready()) is not None:
            raise problem
        return json_answer(Health())

    async def _metrics_text(self, _: Request) -> Response:
        return await self._metrics.answer()

    async def _openapi(self, _: Request) -> Response:
        return json_answer(description())

    async def _file(self, request: Request) -> Response:
        return self._page.answer(request.url.path)

    async def _status(self, request: Request) -> Response:
        refuse_others(request)
        await self._cluster.refresh()
        return json_answer(self._views.status())

    async def _nodes(self, request: Request) -> Response:
        refuse_others(request)
        await self._cluster.refresh()
        return json_answer(self._cluster.nodes())

    async def _runners(self, request: Request) -> Response:
        refuse_others(request, "limit", "offset")
        limit = number(request, "limit", MOST_RUNNERS, MOST_RUNNERS, least=1, kind=int)
        offset = number(request, "offset", 0, 10**9 - 1, least=0, kind=int)
        return json_answer(await self._registered.page(limit, offset))

    async def _ticks(self, request: Request) -> Response:
        refuse_others(request, "limit")
        return json_answer(self._views.ticks(number(request, "limit", DEFAULT_TICKS, MOST_TICKS, least=1, kind=int)))

    async def _run_tick(self, request: Request) -> Response:
        wait = await _wait_of(request)
        return await self._commands.run_tick(wait)

    async def _run_now(self, request: Request) -> Response:
        name, wait = runner_named(request, "run"), await _wait_of(request)
        return await self._commands.run_now(name, wait)

    async def _pause(self, request: Request) -> Response:
        return await self._set_paused(request, "pause")

    async def _resume(self, request: Request) -> Response:
        return await self._set_paused(request, "resume")

    async def _set_paused(self, request: Request, action: str) -> Response:
        name = runner_named(request, action)
        refuse_others(request)
        await require_no_body(request)
        return await self._commands.set_paused(name, action == "pause")

    async def _resign(self, request: Request) -> Response:
        refuse_others(request)
        await require_no_body(request)
        return await self._commands.resign()


async def _wait_of(request: Request) -> float:
    refuse_others(request, "wait")
    wait = number(request, "wait", DEFAULT_WAIT, LONGEST_WAIT, least=0.0, kind=float)
    await require_no_body(request)
    return wait
