"""What a request asks: parameters of its URL, the runner that it names, and a body that is to be empty."""

import re
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

import trio
from starlette.requests import Request

from .refusals import Refused

T = TypeVar("T", int, float)

LARGEST_BODY: Final = 1024
BODY_TIMEOUT: Final = 10.0


def number(request: Request, name: str, default: T, most: T, *, least: T, kind: Callable[[str], T]) -> T:
    """Return a number that a URL gives, or the default. Raises Refused, naming parameter, value and rule."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    # int() and float() take more than a URL is to have: signs, blanks, underscores, digits of all scripts, nan.
    pattern = r"[0-9]{1,9}" if kind is int else r"[0-9]{1,9}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?"
    if len(given) == 1 and re.fullmatch(pattern, given[0]):
        value = kind(given[0])
        if least <= value <= most:
            return value
    what = "an integer" if kind is int else "a number of seconds"
    shown = given[0][:50] if len(given) == 1 else given[:3]
    raise Refused(400, "bad_request", f"{name} must be {what} from {least} to {most}, once, not {shown!r}.")


def refuse_others(request: Request, *known: str) -> None:
    """Raise Refused for a parameter that is none: it was mistyped."""
    for name in request.query_params:
        if name not in known:
            raise Refused(400, "bad_request", f"there is no parameter {name[:50]!r} here.")


def runner_named(request: Request, action: str) -> str:
    """Return the runner's name in `/v1/runners/NAME/ACTION`. Raises Refused."""
    # Of the raw path: in the decoded one a / of the name's would part it.
    raw: bytes = request.scope["raw_path"].partition(b"?")[0]
    name = raw.removeprefix(b"/v1/runners/").removesuffix(f"/{action}".encode())
    try:
        return unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        raise Refused(400, "bad_request", "the runner's name must be UTF-8, percent-encoded.") from None


async def require_no_body(request: Request) -> None:
    """Read the body, which is to be empty or `{}`. Raises Refused."""
    with trio.move_on_after(BODY_TIMEOUT):
        body = bytearray()
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Refused(408, "gone", "the connection was closed before the request was complete.")
            body += message.get("body", b"")
            if len(body) > LARGEST_BODY:
                raise Refused(413, "too_large", f"the body must be at most {LARGEST_BODY} bytes.")
            if not message.get("more_body", False):
                break
        if bytes(body).strip() not in (b"", b"{}"):
            raise Refused(400, "bad_request", "the body must be empty, or {}.")
        return
    raise Refused(408, "too_slow", f"the body must arrive within {BODY_TIMEOUT:g} s.")
