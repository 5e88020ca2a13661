"""`GET /metrics`, where the package for it is there."""

import importlib
from typing import Any

from starlette.responses import Response

from ..conductor import Conductor
from .refusals import HEADERS, Refused

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_of(conductor: Conductor) -> Any:
    """Return what collects the conductor's metrics, or None without prometheus_client."""
    try:
        module: Any = importlib.import_module("conductor_jobs.metrics")
    except ImportError:
        return None
    return module.ConductorMetrics(conductor)


def metrics_answer(metrics: Any) -> Response:
    """Return the metrics as text. Raises Refused."""
    if metrics is None:
        raise Refused(501, "not_installed", "metrics need prometheus_client: pip install 'conductor-jobs[metrics]'.")
    return Response(metrics.exposition(), 200, HEADERS | {"content-type": _CONTENT_TYPE})
