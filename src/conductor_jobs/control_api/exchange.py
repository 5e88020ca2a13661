"""One request: what it asks, the call for as long as somebody waits for its answer, and the envelope."""

import traceback
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response

from ..http_serving.presence import ClientGone, while_there
from ..stderr import tell
from ..stores import http_wire as wire
from .asking import Refused
from .decoding import BadRequest, converted_query, decoded_body

Asked = TypeVar("Asked", bound=msgspec.Struct)

LARGEST_BODY: Final = 64 * 2**10
BODY_TIMEOUT: Final = 10.0


async def answer_to(
    request: Request, what: type[Asked], call: Callable[[Asked], Awaitable[msgspec.Struct]], largest: int = LARGEST_BODY
) -> Response:
    """Decode a request, make the call, and return its answer, or what is wrong in the same envelope.

    `largest`: the bytes that a body may have. A client that goes away cancels the call.
    """
    try:
        asked = _query(request, what) if request.method in ("GET", "HEAD") else await _body(request, what, largest)
        data = await while_there(request.receive, lambda: call(asked))
    except Refused as error:
        return refusal(error)
    except BadRequest as error:
        return refusal(Refused(400, "bad_request", str(error)))
    except ClientGone:
        # Read by nobody, or by one who has closed his side alone and may take it for an answer.
        return refusal(Refused(408, "gone", "the connection was closed before there was an answer."))
    except Exception as error:  # noqa: BLE001 - a fault of ours is told of here, and not to whoever asks
        tell(f"conductor-jobs: control API: {''.join(traceback.format_exception(error))}")
        return refusal(Refused(500, "internal", "the server has a fault, see its output."))
    return _response(200, wire.Answer(True, msgspec.Raw(msgspec.json.encode(data))))


def refusal(error: Refused) -> Response:
    """Return an error's envelope. It ends the connection, so that nobody is refused for long."""
    response = _response(error.status, wire.Answer(False, error=error.code, message=str(error)))
    response.headers["connection"] = "close"
    if error.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _response(status: int, answer: wire.Answer) -> Response:
    return Response(msgspec.json.encode(answer), status, {"cache-control": "no-store"}, media_type="application/json")


def _query(request: Request, what: type[Asked]) -> Asked:
    return converted_query(request.query_params.multi_items(), what)


async def _body(request: Request, what: type[Asked], largest: int) -> Asked:
    # A page in a browser may send other types to any host, without being asked (CSRF).
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "unsupported_media_type", "the content-type must be application/json.")
    if request.query_params:
        raise BadRequest("what is asked belongs into the body, not into the URL.")
    with trio.move_on_after(BODY_TIMEOUT):
        return decoded_body(await _whole_body(request, largest), what)
    raise Refused(408, "too_slow", f"the body must arrive within {BODY_TIMEOUT:g} s.")


async def _whole_body(request: Request, largest: int) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > largest:
            raise Refused(413, "too_large", f"the body must be at most {largest} bytes.")
        if not message.get("more_body", False):
            return bytes(body)
