"""`GET /metrics`, where the package for it is there."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, final

import trio
from starlette.responses import Response

from ..conductor import Conductor
from .refusals import HEADERS, Refused

if TYPE_CHECKING:
    from ..metrics import ConductorMetrics


@final
class Exposition:
    """The conductor's metrics, counted while it is entered; without prometheus_client there are none."""

    def __init__(self, conductor: Conductor) -> None:
        self._metrics = _metrics_of(conductor)
        self._entered = ExitStack()
        # Made in a thread, since it takes some milliseconds; for one who asks at a time.
        self._limiter = trio.CapacityLimiter(1)

    def __enter__(self) -> Self:
        if self._metrics is not None:
            self._entered.enter_context(self._metrics)
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered.close()

    def start(self, nursery: trio.Nursery) -> None:
        """Start what measures the loop."""
        if self._metrics is not None:
            nursery.start_soon(self._metrics.run)

    async def answer(self) -> Response:
        """Return the metrics as text. Raises Refused."""
        if self._metrics is None:
            install = "metrics need prometheus_client: pip install 'conductor-jobs[metrics]'."
            raise Refused(501, "not_installed", install)
        text = await trio.to_thread.run_sync(self._metrics.exposition, abandon_on_cancel=True, limiter=self._limiter)
        return Response(text, 200, HEADERS | {"content-type": self._metrics.content_type})


def _metrics_of(conductor: Conductor) -> "ConductorMetrics | None":
    try:
        from ..metrics import ConductorMetrics
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "conductor_jobs":
            raise
        return None
    return ConductorMetrics(conductor)
