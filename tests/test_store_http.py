"""The store that is a client of the control API: what it takes, and what it says of whatever answers."""

from collections.abc import AsyncGenerator

import httpx2
import pytest

from conductor_jobs import Holder
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.http_errors import ControlAPIError

TOKEN = "letmein"
ALPHA = Holder("alpha", "1")


@pytest.mark.parametrize(
    "base_url",
    ["", "localhost:4317", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://host?x=1", "http://host#x",
     "http://ho st", "http://host\n", "http://[", "http://bob:secret-of-bob@host", "http://secret-of-bob@host"],
)  # fmt: skip
def test_a_base_url_against_the_rules_is_refused_without_showing_credentials(base_url: str) -> None:
    with pytest.raises(ValueError, match="HTTPLeaseStore base_url must be") as caught:
        HTTPLeaseStore(base_url, "t")
    assert "secret-of-bob" not in str(caught.value)


@pytest.mark.parametrize("token", ["", " ", "secret-of-bob\n", " secret-of-bob", "secret-of-bob\r\nx: y"])
def test_a_token_that_is_no_line_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match="HTTPLeaseStore token must be a non-empty line") as caught:
        HTTPLeaseStore("http://host", token)
    assert "secret-of-bob" not in str(caught.value)


def test_stores_of_one_api_are_equal_and_show_no_token() -> None:
    one, other = HTTPLeaseStore("https://host/api/", "t0ken"), HTTPLeaseStore("https://host/api", "other")
    assert one == other
    assert hash(one) == hash(other)
    assert one != HTTPLeaseStore("https://host", "t0ken")
    assert repr(one) == "HTTPLeaseStore('https://host/api')"


NOT_ONE = r", not as a control API does: is it one\?"
JSON = {"content-type": "application/json"}
ANSWERS: list[tuple[int, dict[str, str], bytes, str]] = [
    (404, {"content-type": "text/html"}, b"<html>nginx</html>", f"answered 404 with text/html{NOT_ONE}"),
    (200, {"content-type": "text/html"}, b"<html>welcome</html>", f"answered 200 with text/html{NOT_ONE}"),
    (200, JSON, b'{"ok":true}', f"answered 200 with application/json{NOT_ONE}"),
    (200, JSON, b'{"ok":true,"data":{"term":1}}', "missing required field"),
    (200, JSON, b'{"ok":false}', NOT_ONE),
    (500, {}, b'{"ok":true,"data":{}}', f"answered 500 with no content type{NOT_ONE}"),
    (200, {}, b"", "answered 200 with no content type"),
    (200, {}, b"[" * 10_000, NOT_ONE),
    (307, {"location": "http://elsewhere/v1/leader/acquire"}, b"", "answered 307, a redirect, which is not followed"),
    (401, {}, b'{"ok":false,"error":"unauthorized"}', r"refused the token \(401 unauthorized\)"),
    (503, {}, b'{"ok":false,"error":"a\\u001b[2Jb","message":"x\\ny"}', r"answered 503 a\?\[2Jb: x\?y"),
    (200, {}, b" " * (5 * 2**20), "answered more than 4194304 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "content", "text"), ANSWERS)
async def test_what_answers_in_the_place_of_a_control_api_is_an_error_in_clear_words(
    status: int, headers: dict[str, str], content: bytes, text: str
) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(status, headers=headers, stream=Content())

    class Content(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            for start in range(0, len(content), 65536):
                yield content[start : start + 65536]

    store = HTTPLeaseStore("http://host", TOKEN, transport=httpx2.MockTransport(answer))
    with pytest.raises(ControlAPIError, match=text) as caught:
        await store.acquire("jobs", ALPHA, 30.0)
    assert str(caught.value).startswith("control API http://host ")
    assert TOKEN not in repr(caught.value)
    assert [str(request.url) for request in asked] == ["http://host/v1/leader/acquire"]
