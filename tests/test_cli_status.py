"""`conductor-jobs status`: what it tells of a node, and what its exit code says; against answers made for it."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conductor_jobs import cli, cli_status, local_api_client
from conductor_jobs.local_api import serving
from conductor_jobs.settings import SETTINGS

from .processes import PATIENCE, started

SECRET = "hunter2"
STATUS: dict[str, Any] = {
    "now": "2026-04-01T12:00:00.000Z",
    "node": {"node_id": "mini-main", "host": "mini", "role": "primary", "priority": 100, "version": "1"},
    "lease_name": "conductor",
    "leadership": "leader",
    "term": 4,
    "holder_id": "mini-main",
    "lease_remaining": 26.54,
    "lease": {"holder_id": "mini-main", "term": 4, "held": True, "expires_in": 29.0, "asked_ago": 0.5},
    "degraded": False,
    "problem": None,
    "consecutive_renew_failures": 0,
    "entries_lost": 0,
    "overruns": [],
    "of_a_later_version": True,
}
STANDBY = STATUS | {"leadership": "standby", "holder_id": "other", "lease_remaining": None}


def runner(name: str, **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "schedule": None, "tz": None, "paused": False, "at_work": False, "next_due_at": None}
    return plain | {"runs": {"last_run": None}} | changes


def ended(outcome: str = "completed", result: str | None = "ok", error: str | None = None) -> dict[str, Any]:
    run = {"ended_at": "2026-04-01T11:59:00.000Z", "duration_ms": 120, "outcome": outcome, "result": result}
    return {"last_run": run | {"error": error}}


RUNNERS = [
    runner("plain", runs=ended()),
    runner("report", schedule="0 6 * * *", tz="Europe/Berlin", next_due_at="2026-04-02T04:00:00Z", paused=True),
    runner("bad\x1b", schedule="every 60 s", runs=ended("failed", "failed", "no\ncustomer"), at_work=True)
    | {"next_due_at": ["2026-04-01T12:00:30Z", "2026-04-01T12:01:30Z"]},
]


class FakeLocalAPI:
    """Answers with what it is given, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "/readyz": (200, {"ok": True}),
            "/v1/status": (200, STATUS),
            "/v1/runners": (200, {"runners": RUNNERS, "runner_count": 5}),
        }
        self.asked: list[tuple[str, str | None]] = []
        self.delay = 0.0

        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append((self.path, self.headers["Authorization"]))
                time.sleep(api.delay)
                status, answer = api.answers[self.path]
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def api() -> Generator[FakeLocalAPI, None, None]:
    api = FakeLocalAPI()
    yield api
    api.close()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["status", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_person_learns_who_leads_what_ran_and_what_is_due(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "--local-api", api.url)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "mini-main on mini (primary) leads conductor, term 4, for 26.5 s if not renewed",
        "RUNNER   SCHEDULE                  LAST                                              NEXT DUE",
        "plain    with each tick            2026-04-01 11:59:00 ok, 120 ms",
        "report   0 6 * * *, Europe/Berlin  not here yet                                      "
        "2026-04-02 04:00:00, in 16 h  paused",
        "bad\\x1b  every 60 s                2026-04-01 11:59:00 failed: no\\ncustomer, 120 ms  "
        "2026-04-01 12:00:30, in 30 s  at work",
        "and 2 more",
    ]
    assert [path for path, _ in api.asked] == ["/readyz", "/v1/status", "/v1/runners"]


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({}, "stands by; other leads conductor, term 4, for 28.5 s if not renewed"),
        ({"lease": STATUS["lease"] | {"expires_in": 0.0}}, "stands by; other led conductor last, term 4"),
        ({"lease": None}, "stands by; other led conductor last, term 4"),
        ({"holder_id": None}, "stands by; nobody is known to have led conductor"),
    ],
)
def test_a_standby_tells_who_leads(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], headline: str
) -> None:
    api.answers["/v1/status"] = 200, STANDBY | changes
    api.answers["/v1/runners"] = 200, {"runners": [], "runner_count": 0}
    code, out, _ = run(capsys, "--local-api", api.url)
    assert (code, out) == (0, f"mini-main on mini (primary) {headline}\nno runners are registered\n")


@pytest.mark.parametrize(
    ("path", "answer", "problem"),
    [
        ("/readyz", (503, {"error": "stopping", "message": "it stops."}), "not ready: it stops."),
        (
            "/v1/status",
            (200, STATUS | {"degraded": True, "consecutive_renew_failures": 3}),
            "degraded: 3 store calls in a row have failed",
        ),
        ("/v1/status", (200, STATUS | {"problem": "no\nanswer"}), "the store: no\\nanswer"),
        (
            "/v1/status",
            (200, STATUS | {"overruns": [{"work": "runner 'r'", "seconds": 7.25, "stack": []}]}),
            "runner 'r' is still at work 7.2 s after its lease has run out",
        ),
    ],
)
def test_a_problem_is_told_and_ends_with_1(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], path: str, answer: tuple[int, Any], problem: str
) -> None:
    api.answers[path] = answer
    code, out, _ = run(capsys, "--local-api", api.url)
    assert (code, out.splitlines()[1]) == (1, problem)
    code, out, _ = run(capsys, "--json", "--local-api", api.url)
    assert (code, json.loads(out)["healthy"], len(json.loads(out)["problems"])) == (1, False, 1)


def test_lost_entries_are_told_and_are_no_fault_of_the_present(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["/v1/status"] = 200, STATUS | {"entries_lost": 7}
    code, out, _ = run(capsys, "--local-api", api.url)
    assert (code, out.splitlines()[1]) == (0, "7 journal entries were lost")


def test_a_program_gets_the_answers_as_they_are(api: FakeLocalAPI, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--json", "--local-api", f"{api.url}/")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "healthy": True,
        "problems": [],
        "status": STATUS,
        "runners": {"runners": RUNNERS, "runner_count": 5},
    }


def test_address_and_token_come_from_flags_or_variables(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAA_CONDUCTOR_LOCAL_API", api.url)
    monkeypatch.setenv("BAA_CONDUCTOR_LOCAL_API_TOKEN", "")
    assert run(capsys)[0] == 0
    assert {token for _, token in api.asked} == {None}
    monkeypatch.setenv("BAA_CONDUCTOR_LOCAL_API_TOKEN", SECRET)
    assert run(capsys)[0] == 0
    assert [token for _, token in api.asked[3:]] == [f"Bearer {SECRET}"] * 3


@pytest.mark.parametrize("token", ["tökén", "日本"])
def test_a_token_of_any_letters_is_borne_as_the_local_api_reads_it(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    assert run(capsys, "--local-api", api.url, "--local-api-token", token)[0] == 0
    # What reads headers here takes their bytes for Latin-1.
    assert {given.encode("latin-1").decode() for _, given in api.asked if given} == {f"Bearer {token}"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {"error": "unauthorized", "message": "the token is missing."}), "answered 401: the token is missing."),
        ((302, b""), "answered 302: ''"),
        ((404, b"<html>" + b"x" * 300), f"answered 404: '<html>{'x' * 194}'"),
        ((200, b"[]"), "what answers is no local API of this version: Expected `object`, got `array`"),
        ((200, b"\xff"), "what answers is no local API of this version: "),
    ],
)
def test_another_answer_than_a_status_ends_with_3(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], answer: tuple[int, Any], said: str
) -> None:
    api.answers["/v1/status"] = answer
    code, out, err = run(capsys, "--local-api", api.url, "--local-api-token", SECRET)
    assert (code, out) == (3, "")
    assert err.startswith(f"conductor-jobs: local API {api.url}: ")
    assert said in err
    assert SECRET not in err


def test_nobody_there_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        # Bound, and not listening.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert run(capsys, "--local-api", url) == (3, "", f"conductor-jobs: local API {url}: Connection refused\n")
        code, out, err = run(capsys, "--local-api", url, "--json")
    assert (code, err) == (3, "")
    problems = [f"{url}: Connection refused"]
    assert json.loads(out) == {"healthy": False, "problems": problems, "status": None, "runners": None}


def test_one_that_does_not_answer_is_not_waited_for(
    api: FakeLocalAPI, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_api_client, "PATIENCE", 0.05)
    api.delay = 0.5
    code, _, err = run(capsys, "--local-api", api.url)
    assert (code, err) == (3, f"conductor-jobs: local API {api.url}: no answer within 0.05 s\n")


@pytest.mark.parametrize("flag", ["--local-api", "--local-api-token"])
def test_bad_input_is_named_and_ends_with_2(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    code, out, err = run(capsys, f"{flag}=ftp://{SECRET}\x01")
    assert (code, out) == (2, "")
    assert f"Invalid value for '{flag}': must be " in err
    assert SECRET not in err


def test_it_asks_where_start_serves_by_the_same_names() -> None:
    assert cli_status.DEFAULT_URL == serving.DEFAULT_URL
    variables = {parameter.name: parameter.envvar for parameter in cli_status.status_command.params}
    settings = {setting.name: setting.variable for setting in SETTINGS}
    assert variables["url"] == settings["local_api"]
    assert variables["token"] == settings["local_api_token"]


REAL_APP = """
from conductor_jobs import Cron, TimedJobs
jobs = TimedJobs(interval=0.1)

@jobs.runner("bad")
async def bad(ctx):
    raise ValueError("no customer")

@jobs.runner("report", schedule=Cron("0 6 * * *", tz="Europe/Berlin"))
async def report(ctx):
    pass
"""


def test_of_a_real_node_it_tells_what_failed_and_what_is_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(REAL_APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with started(tmp_path, "app.py:jobs", "--local-api", url, "--node-id=mini-main", "--host=mini") as node:
        node.wait_for("runner_failed")
        deadline, code, out = time.monotonic() + PATIENCE, -1, ""
        while "failed" not in out:
            assert time.monotonic() < deadline
            code, out, _ = run(capsys, "--local-api", url)
        assert code == 0
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    headline, _, bad, report = out.splitlines()
    assert re.fullmatch(
        r"mini-main on mini \(primary\) leads conductor, term 1, for 2\d\.\d s if not renewed", headline
    )
    assert re.match(r"bad +with each tick +[-0-9]{10} [:0-9]{8} failed: no customer, \d+ ms", bad)
    assert re.match(
        r"report +0 6 \* \* \*, Europe/Berlin +not here yet +[-0-9]{10} 0[45]:00:00, in \d+ (h|min|s)", report
    )
    assert run(capsys, "--local-api", url)[0] == 3


def test_nothing_but_the_command_and_pythons_own_http_is_imported() -> None:
    code = (
        "import sys; from conductor_jobs import cli; cli.main(['status', '--local-api', 'http://127.0.0.1:9']);"
        "sys.exit(any(each in sys.modules for each in ('httpx2', 'starlette', 'hypercorn', 'requests')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
