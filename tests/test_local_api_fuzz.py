"""What a client may do to the local API of a process: nonsense by the hundred, and all that its description says.

The process has printed nothing when all of this is over, and its token never.
"""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from conductor_jobs.local_api.openapi import description

from .local_api import TOKEN
from .raw_http import assert_refused_or_answered, spoken
from .real_servers import ServerProcess, free_port
from .strategies import fewer

APP = """
from conductor_jobs import Cron, TickContext, TimedJobs

jobs = TimedJobs(interval=60)

@jobs.runner("plain")
async def plain(ctx: TickContext) -> None:
    pass

@jobs.runner("a/b \\u00fc", schedule=Cron("@daily"))
async def scheduled(ctx: TickContext) -> None:
    raise ValueError("no luck")
"""
BEARER = b"Authorization: Bearer " + TOKEN.encode()


class Served:
    """`conductor-jobs start` with a local API."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = ServerProcess(folder)
        self.output = self._process.output
        (folder / "app.py").write_text(APP)
        command = ["-m", "conductor_jobs", "start", str(folder / "app.py:jobs"), "--quiet", "--local-api", self.url]
        folders = ["--state-dir", str(folder / "state"), "--logs-dir", str(folder / "logs")]
        variables = {"BAA_CONDUCTOR_LOCAL_API_TOKEN": TOKEN}
        self._process.start([sys.executable, *command, *folders], self._answers, variables)

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as response:
            return bool(response.status == 200)

    def stop(self) -> None:
        self._process.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = Served(folder)
    yield server
    server.stop()
    printed = server.output.read_text()
    journal = "".join(path.read_text() for path in (folder / "logs").rglob("*.jsonl"))
    assert TOKEN not in printed + journal
    assert [line for line in printed.splitlines() if not re.match("conductor-jobs: (node|local API at) ", line)] == []


# All that the description says


# Without the phase that optimises targets, in which Hypothesis sometimes makes an error of its own here.
SCHEMA = schemathesis.openapi.from_dict(description()).exclude(path="/v1/events")
OPERATIONS: list[Any] = [each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_the_description_describes_holds_for_requests_made_of_it(server: Served, operation: Any) -> None:
    @settings(max_examples=25, phases=[Phase.explicit, Phase.generate, Phase.shrink], deadline=None)
    @given(operation.as_strategy())
    def holds(case: Any) -> None:
        case.call_and_validate(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"})

    holds()


def test_what_the_description_describes_holds_at_its_edges_and_for_requests_in_a_row(
    server: Served, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json"]
    options = ["-H", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--max-examples", "25", "--no-color"]
    # The stream has no end.
    options += ["--phases", "coverage,stateful", "--exclude-path", "/v1/events"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Nonsense

header_lines = st.one_of(
    st.sampled_from([BEARER, b"Host: localhost", b"Host: other", b"Connection: close", b"Connection: Upgrade"]),
    st.sampled_from([b"Upgrade: websocket", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"]),
    st.sampled_from([b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13", b"Expect: 100-continue"]),
    st.sampled_from([b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: -1"]),
    st.sampled_from([b"Origin: http://localhost", b"Sec-Fetch-Site: same-origin", b"Last-Event-ID: \xff\x80"]),
    st.sampled_from([b"X: " + b"y" * 20_000, b" folded", b": empty"]),
    st.binary(max_size=30),
)
request_lines = st.one_of(
    st.sampled_from([b"GET /v1/status HTTP/1.1", b"GET /v1/ticks?limit=%ff HTTP/1.1", b"GET / HTTP/1.0"]),
    st.sampled_from([b"POST /v1/ticks?wait=0 HTTP/1.1", b"POST /v1/runners/%00%ff/run HTTP/1.1"]),
    st.sampled_from([b"POST /v1/runners//pause HTTP/1.1", b"POST /v1/runners/%2e%2e/run?wait=0 HTTP/1.1"]),
    st.sampled_from([b"GET http://x/v1/status HTTP/1.1", b"GET //v1/status HTTP/1.1", b"GET /%ff%00 HTTP/1.1"]),
    st.sampled_from([b"CONNECT a:1 HTTP/1.1", b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1", b"HEAD /v1/events HTTP/1.1"]),
    st.binary(max_size=60),
)


@fewer(2)
@given(request_lines, st.lists(header_lines, max_size=8), st.binary(max_size=60))
@example(b"GET /v1/status HTTP/1.1", [b"Host: localhost", b"Connection: Upgrade", b"Upgrade: h2c"], b"")
@example(b"GET /v1/events HTTP/1.1", [b"Host: localhost", b"Connection: Upgrade", b"Upgrade: websocket"], b"")
@example(b"PRI * HTTP/2.0", [b"", b"SM", b""], b"")
def test_requests_of_any_bytes_are_refused_or_answered(
    server: Served, request_line: bytes, headers: list[bytes], body: bytes
) -> None:
    assert_refused_or_answered(spoken(server.port, b"\r\n".join([request_line, *headers, b"", body])), TOKEN)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 200), (b"{}", 200), (b" {} \n", 200), (b"x", 400), (b'{"a":1}', 400), (b"x" * 2000, 413)],
)
def test_a_body_is_to_be_empty(server: Served, body: bytes, status: int) -> None:
    length = b"Content-Length: %d" % len(body)
    lines = [b"POST /v1/runners/plain/pause HTTP/1.1", b"Host: localhost", BEARER, length, b"Connection: close"]
    answer = spoken(server.port, b"\r\n".join([*lines, b"", body]))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_a_request_without_the_token_is_refused_before_its_body_is_read(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"POST /v1/ticks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nx")
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
