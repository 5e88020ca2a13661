"""What comes back from a control API, or from whatever answers in its place: an answer, or an error in clear words."""

from typing import Final, TypeVar

import httpx2
import msgspec

from ..errors import StaleTerm
from ..failures import error_text
from . import http_wire as wire

T = TypeVar("T", bound=msgspec.Struct)

_OK: Final = 200
_LONGEST_SHOWN: Final = 300


class ControlAPIError(Exception):
    """The control API could not be reached, refused the call, or is none. The outcome of the call may be unknown.

    `code` is the error code of the API's answer, or None where no control API has answered.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code: str | None = code


def unwrapped(base_url: str, response: httpx2.Response, content: bytes, what: type[T]) -> T:
    """Return what an answer's envelope holds. Raises StaleTerm, and ControlAPIError, saying what has answered."""
    try:
        answer = msgspec.json.decode(content, type=wire.Answer)
        if answer.ok and response.status_code == _OK:
            return msgspec.json.decode(answer.data, type=what)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_one(base_url, response, error) from None
    if answer.ok or answer.error is None:
        raise _not_one(base_url, response, None)
    if answer.error == wire.STALE_TERM:
        raise StaleTerm(_clean(answer.message or ""))
    raise _refusal(base_url, response.status_code, answer.error, answer.message or "")


def unreachable(base_url: str, error: httpx2.HTTPError) -> ControlAPIError:
    """Return the error that says why nothing has answered."""
    return ControlAPIError(f"control API {base_url} cannot be reached: {_reason(error)}")


def _refusal(base_url: str, status: int, code: str, message: str) -> ControlAPIError:
    code, message = _clean(code), _clean(message)
    if status == 401:
        why = "the shared token is not the server's, or none was given"
        return ControlAPIError(f"control API {base_url} refused the token (401 {code}): {why}", code)
    return ControlAPIError(f"control API {base_url} answered {status} {code}: {message}", code)


def _not_one(base_url: str, response: httpx2.Response, error: Exception | None) -> ControlAPIError:
    status = response.status_code
    if response.has_redirect_location:
        what = f"{status}, a redirect, which is not followed, for the token is for this host only"
    else:
        kind = _clean(response.headers.get("content-type", "no content type"))
        what = f"{status} with {kind}, not as a control API does: is it one?"
    return ControlAPIError(f"control API {base_url} answered {what}" + ("" if error is None else f" ({error})"))


def _reason(error: BaseException) -> str:
    # The system's own words are at the end of a chain of wrappers, of which one is a group: an address each.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return _clean(cause.strerror)
        cause = cause.exceptions[-1] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {_clean(error_text(error))}"


def _clean(text: str) -> str:
    # Somebody else's text, of any length and kind, ends up in a line of ours.
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST_SHOWN])
