"""The API's own description, OpenAPI 3.1, made of the structs that it answers with."""

import functools
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .._version import __version__
from . import answers, outcomes
from .outcomes import Problem

_JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{name}"
_TOKEN: Final[list[dict[str, list[str]]]] = [{"token": []}]
# What any request may be told: by the guard, or by limits of time and size.
_ALWAYS: Final = ("400", "401", "403")
_OF_ANSWERS: Final = (
    outcomes.Done,
    outcomes.Health,
    answers.NodesAnswer,
    outcomes.Problem,
    outcomes.RunAnswer,
    answers.RunnersAnswer,
    answers.StatusAnswer,
    answers.TickAnswer,
    outcomes.TickRefused,
    answers.TicksAnswer,
)


@functools.cache
def description() -> dict[str, Any]:
    """Return the description, as JSON's values."""
    _, schemas = msgspec.json.schema_components(_OF_ANSWERS, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "conductor-jobs local API",
            "version": __version__,
            "description": "How one conductor stands. Reading needs the token only beyond loopback, writing always.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _paths() -> dict[str, Any]:
    wait = _parameter("wait", "number", 0, 300, "seconds for which the tick's end is waited for, 30 by default")
    limit = _parameter("limit", "integer", 1, 4000, "how many of the latest ticks, 100 by default")
    page = [
        _parameter("limit", "integer", 1, 1000, "how many runners, 1000 by default"),
        _parameter("offset", "integer", 0, 10**9 - 1, "how many runners to pass over"),
    ]
    return {
        "/healthz": {"get": _get("Whether the process works", outcomes.Health, refused=["503"])},
        "/readyz": {"get": _get("Whether this node takes part", outcomes.Health, refused=["503"])},
        "/metrics": {"get": _text("Metrics, for Prometheus", "text/plain", ["501"])},
        "/openapi.json": {"get": _text("This description", _JSON, [])},
        "/": {"get": _text("The page", "text/html", [])},
        "/v1/status": {"get": _get("How this node stands, and the lease", answers.StatusAnswer)},
        "/v1/nodes": {"get": _get("The nodes", answers.NodesAnswer)},
        "/v1/runners": {"get": _get("The runners, and their latest runs", answers.RunnersAnswer, page)},
        "/v1/events": {"get": _text("What happens, as server-sent events", "text/event-stream", ["503"])},
        "/v1/ticks": {
            "get": _get("The latest ticks and errors", answers.TicksAnswer, [limit]),
            "post": _tick("Have a tick now", [wait], ["503"]),
        },
        "/v1/runners/{name}/run": {"post": _tick("Run one runner now", [_NAME, wait], ["404", "503"])},
        "/v1/runners/{name}/pause": {"post": _post("Pause a runner", [_NAME], ["404", "501", "503"])},
        "/v1/runners/{name}/resume": {"post": _post("Resume a runner", [_NAME], ["404", "501", "503"])},
        "/v1/resign": {"post": _post("Give the lease to another node", [], ["409", "503"])},
    }


_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "the runner's name, percent-encoded",
}


def _parameter(name: str, kind: str, least: int, most: int, text: str) -> dict[str, Any]:
    schema = {"type": kind, "minimum": least, "maximum": most}
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _get(
    summary: str, answer: type, parameters: Iterable[dict[str, Any]] = (), refused: Iterable[str] = ()
) -> dict[str, Any]:
    return _operation(summary, {"200": _of(answer)}, parameters, refused)


def _post(summary: str, parameters: Iterable[dict[str, Any]], refused: Iterable[str]) -> dict[str, Any]:
    return _operation(summary, {"200": _of(outcomes.Done)}, parameters, [*refused, "408", "413"]) | {"security": _TOKEN}


def _tick(summary: str, parameters: Iterable[dict[str, Any]], refused: Iterable[str]) -> dict[str, Any]:
    responses = {"200": _of(outcomes.RunAnswer), "202": _of(outcomes.RunAnswer), "409": _of(outcomes.TickRefused)}
    return _operation(summary, responses, parameters, [*refused, "408", "413"]) | {"security": _TOKEN}


def _text(summary: str, media_type: str, refused: Iterable[str]) -> dict[str, Any]:
    return _operation(summary, {"200": {"description": summary, "content": {media_type: {}}}}, (), refused)


def _operation(
    summary: str, responses: dict[str, Any], parameters: Iterable[dict[str, Any]], refused: Iterable[str]
) -> dict[str, Any]:
    problems = {status: _of(Problem) for status in (*_ALWAYS, *refused) if status not in responses}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": dict(sorted((responses | problems).items())),
    }


def _of(answer: type) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=answer.__name__)}
    return {"description": (answer.__doc__ or "").strip().splitlines()[0], "content": {_JSON: {"schema": schema}}}
