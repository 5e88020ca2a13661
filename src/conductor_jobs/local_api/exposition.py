"""`GET /metrics`, where the package for it is there."""

import importlib
from types import TracebackType
from typing import Any, Final, final

import trio
from starlette.responses import Response

from ..conductor import Conductor
from .refusals import HEADERS, Refused

_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@final
class Exposition:
    """The conductor's metrics, counted while it is entered and answered as text; nothing without prometheus_client."""

    def __init__(self, conductor: Conductor) -> None:
        self._metrics = _metrics_of(conductor)
        # One scrape at a time, and none that waits for the application's threads.
        self._limiter = trio.CapacityLimiter(1)

    def __enter__(self) -> None:
        if self._metrics is not None:
            self._metrics.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is not None:
            self._metrics.__exit__(kind, error, trace)

    async def run(self) -> None:
        """Measure the lag of the loop until cancelled."""
        if self._metrics is not None:
            await self._metrics.run()

    async def answer(self) -> Response:
        """Return the metrics as text. Raises Refused."""
        if self._metrics is None:
            raise Refused(
                501, "not_installed", "metrics need prometheus_client: pip install 'conductor-jobs[metrics]'."
            )
        # Thousands of series take milliseconds, which the loop has no time for.
        text = await trio.to_thread.run_sync(self._metrics.exposition, limiter=self._limiter)
        return Response(text, 200, HEADERS | {"content-type": _CONTENT_TYPE})


def _metrics_of(conductor: Conductor) -> Any:
    try:
        module: Any = importlib.import_module("conductor_jobs.metrics")
    except ImportError:
        return None
    return module.ConductorMetrics(conductor)
