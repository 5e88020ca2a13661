"""Asking a conductor's local API, with what Python brings along: for `conductor-jobs status`."""

from http import HTTPStatus
from typing import Final, TypeVar, final
from urllib.parse import urlsplit

import msgspec

T = TypeVar("T")

# Seconds for each step of a request; the local API answers within one, also when its store hangs.
PATIENCE: Final = 5.0
# More than ten thousand runners need.
_MOST_BYTES: Final = 32 * 1024 * 1024


class Unreachable(Exception):
    """No local API has answered, for the reason that the text gives."""


class Refused(Exception):
    """The local API has answered, but not with what was asked for; the text says what it said."""


@final
class _Problem(msgspec.Struct, frozen=True):
    message: str


@final
class LocalAPIClient:
    """Asks one local API, through no proxy and following no redirection: either would get the token.

    `url` is `http://HOST:PORT`, or https; `token` is borne if there is one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers: dict[str, str | bytes] = {"Accept": "application/json"}
        if token is not None:
            # As bytes: of a text http.client would take the letters for Latin-1.
            self._headers["Authorization"] = f"Bearer {token}".encode()

    def get(self, path: str) -> bytes:
        """Return the JSON that `GET path` answers. Raises Unreachable, or Refused for another answer."""
        status, body = self._asked(path)
        if status != HTTPStatus.OK:
            raise Refused(f"{self._url}: {path} answered {status}: {_said(body)}")
        return body

    def decoded(self, body: bytes, kind: type[T]) -> T:
        """Return an answer as a `kind`. Raises Refused where it is none, as another server's."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"{self._url}: what answers is no local API of this version: {error}") from error

    def why_unready(self) -> str | None:
        """Return why the node is not ready, or None. Raises Unreachable."""
        status, body = self._asked("/readyz")
        return None if status == HTTPStatus.OK else _said(body)

    def _asked(self, path: str) -> tuple[int, bytes]:
        # 5 ms that no other command needs to wait for.
        import http.client

        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"{parts.path}{path}", headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._url}: {_reason(error)}") from error
        finally:
            connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _said(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return repr(body[:200].decode(errors="replace"))
