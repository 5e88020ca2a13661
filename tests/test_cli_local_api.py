"""`conductor-jobs start --local-api`, as processes: from the port that is in use to the signal that stops it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from .local_api import TOKEN
from .processes import PATIENCE, Started, started

APP = """
import trio
from conductor_jobs import TickContext, TimedJobs

jobs = TimedJobs(interval=3600)

@jobs.runner("slow")
async def slow(ctx: TickContext) -> None:
    await trio.sleep({seconds})
"""
UNTIL_TOLD = """
from pathlib import Path
import trio
from conductor_jobs import TickContext, TimedJobs

jobs = TimedJobs(interval=3600)

@jobs.runner("slow")
async def slow(ctx: TickContext) -> None:
    while not Path("end").exists():
        await trio.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP.format(seconds=0))
    (tmp_path / "slow.py").write_text(UNTIL_TOLD)
    (tmp_path / "endless.py").write_text(APP.format(seconds=3600))
    return tmp_path


def url_of(process: Started) -> str:
    """Return where a process says that its local API is."""
    found = re.search(r"local API at (http://\S+),", process.wait_for_stderr("local API at "))
    assert found is not None
    return found[1]


def asked(url: str, *, method: str = "GET", token: str | None = None) -> Any:
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


@contextmanager
def listening(url: str) -> Generator[HTTPResponse]:
    with urllib.request.urlopen(f"{url}/v1/events", timeout=PATIENCE) as response:
        yield response


def events_of(response: HTTPResponse) -> Generator[tuple[str, Any]]:
    """Yield each event of a stream until its end."""
    kind = ""
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", "start", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=PATIENCE
    )


def test_a_start_serves_until_its_conductor_has_stopped_and_tells_of_the_drain(folder: Path) -> None:
    options = ["--local-api", "http://127.0.0.1:0"]
    with started(folder, "slow.py:jobs", *options, BAA_CONDUCTOR_LOCAL_API_TOKEN=TOKEN) as process:
        url = url_of(process)
        assert asked(f"{url}/readyz") == {"ok": True}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(f"{url}/v1/ticks", method="POST")
        assert asked(f"{url}/v1/ticks?wait=0", method="POST", token=TOKEN) == {"ended": False, "tick": None}
        process.wait_for("runner_started")
        with listening(url) as response:
            events = events_of(response)
            process.signal(signal.SIGTERM)
            status = next(data for kind, data in events if kind == "status" and data["stopping"])
            assert status["leadership"] == "leader"
            (folder / "end").touch()
            heard = list(events)
        assert process.wait() == 0
        statuses = [data for kind, data in heard if kind == "status"]
        assert statuses[-1]["started"] is False
        assert [data["decision"] for kind, data in heard if kind == "tick"][-1] == "scheduled"
        assert [entry["stage"] for entry in process.entries][-1] == "stopped"
        # A start says where it is and nothing of the token.
        assert len(process.stderr) == 2
        assert TOKEN not in "".join(process.stderr)


def test_a_second_signal_ends_it_at_once_with_a_stream_open(folder: Path) -> None:
    options = ["--local-api", "http://127.0.0.1:0"]
    with started(folder, "endless.py:jobs", *options, BAA_CONDUCTOR_LOCAL_API_TOKEN=TOKEN) as process:
        url = url_of(process)
        asked(f"{url}/v1/ticks?wait=0", method="POST", token=TOKEN)
        process.wait_for("runner_started")
        with listening(url):
            process.signal(signal.SIGTERM)
            process.wait_for("stopping")
            process.signal(signal.SIGTERM)
            assert process.wait() == 130


def test_the_stream_of_another_node_tells_of_the_takeover(folder: Path) -> None:
    options = ["--local-api", "http://127.0.0.1:0", "--lease-ttl-sec", "3"]
    with started(folder, "app.py:jobs", *options, BAA_NODE_ID="alpha") as leader:
        leader.wait_for("leader_started")
        with started(folder, "app.py:jobs", *options, BAA_NODE_ID="beta") as standby:
            url = url_of(standby)
            with listening(url) as response:
                heard = events_of(response)
                lease = next(data["lease"] for kind, data in heard if kind == "status" and data["lease"])
                assert (lease["holder_id"], lease["term"]) == ("alpha", 1)
                leader.signal(signal.SIGKILL)
                taken = next(data for kind, data in heard if kind == "status" and data["leadership"] == "leader")
                assert (taken["node"]["node_id"], taken["term"]) == ("beta", 2)
            standby.signal(signal.SIGTERM)
            assert standby.wait() == 0


def test_a_port_in_use_is_told_before_anything_starts(folder: Path) -> None:
    before = sorted(folder.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = run(folder, "app.py:jobs", "--local-api", url)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"conductor-jobs: local API {url}: Address already in use\n"
    assert sorted(path for path in folder.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://0.0.0.0:0", "0.0.0.0 can be reached by others: give a token (BAA_CONDUCTOR_LOCAL_API_TOKEN)"),
        ("http://no.such.host.invalid:0", "local API http://no.such.host.invalid:0: "),
        ("http://127.0.0.1:0/status", "BAA_CONDUCTOR_LOCAL_API: Conductor local API must be an http URL of a host"),
        ("https://127.0.0.1:0", "BAA_CONDUCTOR_LOCAL_API: Conductor local API must be an http URL of a host"),
    ],
)
def test_an_address_of_no_use_is_refused_with_the_reason(folder: Path, url: str, told: str) -> None:
    done = run(folder, "app.py:jobs", BAA_CONDUCTOR_LOCAL_API=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / ".conductor").exists()


def test_a_single_tick_is_not_served(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = run(folder, "app.py:jobs", "--run-once", BAA_CONDUCTOR_LOCAL_API=url)
    assert done.returncode == 0
    assert "local API" not in done.stderr


@pytest.mark.parametrize("missing", ["hypercorn", "starlette"])
def test_a_missing_extra_says_what_to_install(folder: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from conductor_jobs.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "start", "app.py:jobs", "--local-api", "http://127.0.0.1:0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr == f"conductor-jobs: the local API needs {missing}: pip install 'conductor-jobs[web]'.\n"
    assert not (folder / ".conductor").exists()


def test_the_engine_and_the_command_import_nothing_of_it() -> None:
    code = (
        "import sys, conductor_jobs, conductor_jobs.cli\n"
        "found = [name for name in sys.modules if name.split('.')[0] in ('hypercorn', 'starlette', 'httpx2', 'h11')]\n"
        "assert not found, found\n"
        "assert 'conductor_jobs.local_api' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
