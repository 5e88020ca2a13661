"""Answers: JSON with the headers that all of them bear, and what is said to whoever gets no answer."""

import json
import re
from typing import Final, final

import msgspec
from starlette.responses import Response

from .outcomes import Problem

#: On every answer. The page needs no more than its own files; nothing may frame it, embed it or guess types.
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@final
class Refused(Exception):
    """A request that is not answered: the status, the code and the message that are said instead, and headers."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def encoded(answer: object) -> bytes:
    """Return an answer as JSON. What UTF-8 cannot hold, as an error that names an undecodable file, is escaped."""
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError:
        # One error of a runner is no reason to answer nobody any more.
        text = json.dumps(msgspec.to_builtins(answer), ensure_ascii=False, separators=(",", ":"))
        return _SURROGATE.sub(lambda found: rf"\\u{ord(found[0]):x}", text).encode()


def json_answer(answer: object, status: int = 200) -> Response:
    """Return an answer as JSON."""
    return Response(encoded(answer), status, HEADERS, media_type="application/json")


def refusal(error: Refused) -> Response:
    """Return what is said of an error. It ends the connection, so that nobody is refused for long."""
    response = json_answer(Problem(error.code, str(error)), error.status)
    response.headers["connection"] = "close"
    response.headers.update({name.replace("_", "-"): value for name, value in error.headers.items()})
    return response
