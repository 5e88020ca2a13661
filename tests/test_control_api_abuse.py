"""What a client may do to the server: nonsense by the hundred, connections by the hundred, and never an end."""

import json
from collections.abc import Generator

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair

from conductor_jobs import Holder
from conductor_jobs.control_api import serving
from conductor_jobs.control_api.serving import ControlServer
from conductor_jobs.http_serving.connections import IDLE_TIMEOUT, SEND_TIMEOUT, Connection, LimitedListener
from conductor_jobs.http_serving.serving import NotSafe, open_listeners, urls_of
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.memory import MemoryLeaseStore

from .raw_http import assert_refused_or_answered, spoken
from .real_servers.control_api import TOKEN, ControlAPIProcess
from .strategies import fewer

BEARER = b"Authorization: Bearer " + TOKEN.encode()
JSON = b"Content-Type: application/json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlAPIProcess]:
    """A server that has printed nothing when all of this is over, and no token ever."""
    server = ControlAPIProcess(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()
    assert TOKEN not in server.output.read_text()
    assert server.printed() == []


# Nonsense


names = st.sampled_from(
    ["leaseName", "controllerId", "incarnation", "ttl", "term", "host", "role", "priority", "state", "fingerprint",
     "runner", "dueAt", "result", "claims", "paused", "cursor"]
)  # fmt: skip
moments = st.datetimes().map(str) | st.sampled_from(["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
claims = st.fixed_dictionaries({"runner": st.text(max_size=9), "dueAt": moments | st.integers() | st.none()})
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["a", 1, 30.0])
    | claims,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
paths = st.sampled_from(
    [b"leader/acquire", b"leader/release", b"controllers/heartbeat", b"leader", b"controllers",
     b"runners/claim", b"runners/claims", b"runners/pause", b"runners/cursor/save", b"runners/cursor"]
)  # fmt: skip


@fewer(2)
@given(paths, st.dictionaries(names, values, max_size=9))
def test_bodies_of_any_json_are_answered_or_refused(
    server: ControlAPIProcess, path: bytes, body: dict[str, object]
) -> None:
    text = json.dumps(body).encode()
    length = str(len(text)).encode()
    lines = [b"POST /v1/%s HTTP/1.1" % path, b"Host: localhost", BEARER, JSON, b"Content-Length: " + length, b"", text]
    answer = spoken(server.port, b"\r\n".join(lines))
    assert_refused_or_answered(answer, TOKEN)
    assert b'{"ok":' in answer


@fewer(2)
@given(paths, st.binary(max_size=200), st.booleans())
def test_bodies_of_any_bytes_are_refused(server: ControlAPIProcess, path: bytes, body: bytes, chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: " + str(len(body)).encode()
    text = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked and body else body
    lines = [b"POST /v1/%s HTTP/1.1" % path, b"Host: localhost", BEARER, JSON, length, b"", text]
    assert_refused_or_answered(spoken(server.port, b"\r\n".join(lines)), TOKEN)


header_lines = st.one_of(
    st.sampled_from([BEARER, JSON, b"Host: localhost", b"Host: other", b"Connection: close", b"Connection: Upgrade"]),
    st.sampled_from(
        [b"Upgrade: websocket", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Expect: 100-continue"]
    ),
    st.sampled_from(
        [b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: -1", b"Sec-WebSocket-Key: x"]
    ),
    st.sampled_from([b"Sec-WebSocket-Version: 13", b"X: " + b"y" * 20_000, b" folded", b": empty"]),
    st.binary(max_size=30),
)
request_lines = st.one_of(
    st.sampled_from([b"GET /v1/leader?leaseName=a HTTP/1.1", b"GET /v1/leader/wait?leaseName=a&term=1 HTTP/1.0"]),
    st.sampled_from([b"GET /%ff%00 HTTP/1.1", b"GET http://x/v1/leader HTTP/1.1"]),
    st.sampled_from([b"GET /v1/leader?%ff=%00&leaseName=%ff HTTP/1.1"]),
    st.sampled_from([b"CONNECT a:1 HTTP/1.1", b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1"]),
    st.sampled_from([b"HEAD /v1/controllers?leaseName=a HTTP/1.1"]),
    st.binary(max_size=60),
)  # fmt: skip
UPGRADE = [b"Host: localhost", BEARER, b"Connection: Upgrade"]


@fewer(2)
@given(request_lines, st.lists(header_lines, max_size=8), st.binary(max_size=60))
@example(
    b"GET /v1/leader HTTP/1.1",
    [*UPGRADE, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
@example(
    b"GET /v1/leader HTTP/1.1",
    [*UPGRADE, b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: x"],
    b"",
)
@example(b"PRI * HTTP/2.0", [], b"SM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
@example(b"GET /v1/leader HTTP/1.1", [b"X: " + b"y" * 100_000], b"")
@example(b"GET /v1/leader HTTP/1.1", [b"X: y"] * 9000, b"")
def test_headers_of_any_kind_are_answered_or_refused(
    server: ControlAPIProcess, first: bytes, headers: list[bytes], rest: bytes
) -> None:
    assert_refused_or_answered(spoken(server.port, b"\r\n".join([first, *headers, b"", rest])), TOKEN)


def test_a_body_without_end_is_cut_off(server: ControlAPIProcess) -> None:
    lines = [
        b"POST /v1/leader/acquire HTTP/1.1",
        b"Host: localhost",
        BEARER,
        JSON,
        b"Content-Length: 1000000000",
        b"",
        b"",
    ]
    answer = spoken(server.port, b"\r\n".join(lines) + b" " * 1_000_000)
    assert not answer or b"HTTP/1.1 413" in answer


# Connections without end


class Accepted:
    """A memory stream as the listener would give it."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.socket = None
        self.receive_some = stream.receive_some
        self.send_all = stream.send_all
        self.aclose = stream.aclose


async def test_a_connection_has_half_a_minute_for_its_first_request(autojump_clock: MockClock) -> None:
    client, stream = lockstep_stream_pair()
    connection = Connection(Accepted(stream), lambda: None)  # type: ignore[arg-type] # as good as a SocketStream
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle, client, nursery.cancel_scope)
        with pytest.raises(trio.BrokenResourceError):
            while await connection.receive_some():
                pass
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == IDLE_TIMEOUT


async def test_one_that_was_approved_is_waited_for(autojump_clock: MockClock) -> None:
    client, stream = lockstep_stream_pair()
    connection = Connection(Accepted(stream), lambda: None)  # type: ignore[arg-type] # as good as a SocketStream
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive_some)
        await trio.sleep(IDLE_TIMEOUT - 1)
        connection.approve()
        await trio.sleep(3 * IDLE_TIMEOUT)
        await client.send_all(b"x")
        nursery.start_soon(connection.receive_some)
        await trio.sleep(3 * IDLE_TIMEOUT)
        await client.send_all(b"x")


async def test_who_takes_no_answer_is_cut_off_under_any_shield_and_gives_up_the_place(
    autojump_clock: MockClock,
) -> None:
    _, stream = lockstep_stream_pair()
    closed: list[bool] = []
    connection = Connection(Accepted(stream), lambda: closed.append(True))  # type: ignore[arg-type] # see above
    start = trio.current_time()
    with trio.CancelScope(shield=True) as scope, pytest.raises(trio.BrokenResourceError):
        scope.cancel()
        scope.shield = True
        with trio.CancelScope(shield=True):
            await connection.send_all(b"answer")
    assert trio.current_time() - start == SEND_TIMEOUT
    await connection.aclose()
    assert closed == [True]


async def trickle(client: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    while not scope.cancel_called:
        await client.send_all(b"x")
        await trio.sleep(1)


async def test_who_comes_when_all_places_are_taken_waits_for_one(nursery: trio.Nursery) -> None:
    listeners = await open_listeners("127.0.0.1", 0, with_token=False, token_setting="BAA_SHARED_TOKEN")
    (url,), port = urls_of(listeners), listeners[0].socket.getsockname()[1]
    server = ControlServer(MemoryLeaseStore(), None, most_connections=3)
    nursery.start_soon(server.run, listeners)
    holder = Holder("alpha", "1")
    async with HTTPLeaseStore(url) as store:
        assert (await store.acquire("jobs", holder, 30.0)).is_leader
        idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        await trio.sleep(0.1)
        with trio.move_on_after(0.3) as waiting:
            await HTTPLeaseStore(url).nodes("jobs")
        assert waiting.cancelled_caught
        assert (await store.acquire("jobs", holder, 30.0, term=1)).is_leader
        await idle[0].aclose()
        with trio.fail_after(60):
            assert await HTTPLeaseStore(url).nodes("jobs") == []
        await idle[1].aclose()
    server.request_stop()


async def test_a_stop_waits_for_no_connection_that_is_idle(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "GRACE", 1000.0)
    listeners = await open_listeners("127.0.0.1", 0, with_token=False, token_setting="BAA_SHARED_TOKEN")
    (url,), port = urls_of(listeners), listeners[0].socket.getsockname()[1]
    server = ControlServer(MemoryLeaseStore(), None)

    async def end(store: HTTPLeaseStore) -> None:
        await store.nodes("jobs")
        server.request_stop()

    async with HTTPLeaseStore(url) as store, await trio.open_tcp_stream("127.0.0.1", port):
        nursery.start_soon(end, store)
        with trio.fail_after(60):
            await server.run(listeners)


async def test_a_place_is_given_back_when_nobody_was_accepted(autojump_clock: MockClock) -> None:
    class Full:
        async def accept(self) -> trio.SocketStream:
            await trio.sleep(1)
            raise OSError(24, "Too many open files")

    places = trio.Semaphore(1)
    listener = LimitedListener(Full(), places)  # type: ignore[arg-type] # all that is asked of one
    with pytest.raises(OSError, match="Too many"):
        await listener.accept()
    with trio.move_on_after(0.5):
        await listener.accept()
    assert places.value == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_beyond_loopback_a_token_is_required(host: str) -> None:
    with pytest.raises(NotSafe, match="can be reached by others: give a token"):
        await open_listeners(host, 0, with_token=False, token_setting="BAA_SHARED_TOKEN")
    for listener in await open_listeners(host, 0, with_token=True, token_setting="BAA_SHARED_TOKEN"):
        await listener.aclose()
