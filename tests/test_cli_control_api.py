"""The command `conductor-jobs control-api`: what it takes, what it says, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 60.0
SECRET = "secret-of-bob"
ADDRESS = "must be HOST:PORT, or [IPv6 ADDRESS]:PORT"


def run(folder: Path, *arguments: str, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "conductor_jobs"]
    return subprocess.run(
        [sys.executable, *command, "control-api", *arguments],
        cwd=folder,
        env=os.environ | {"BAA_SHARED_TOKEN": ""} | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--listen'"),
        (["--listen", "127.0.0.1:0"], "Missing option '--store'"),
        (["--listen", "127.0.0.1", "--store", "memory:"], f"{ADDRESS}, not '127.0.0.1'."),
        (["--listen", ":80", "--store", "memory:"], f"{ADDRESS}, not ':80'."),
        (["--listen", "::1:80", "--store", "memory:"], f"{ADDRESS}, not '::1:80'."),
        (["--listen", "localhost:65536", "--store", "memory:"], "must be HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--store", "nonsense:"], "not 'nonsense:…'."),
        (["--listen", "0.0.0.0:0", "--store", "memory:"], "0.0.0.0:0: 0.0.0.0 can be reached by others: give a token"),
        (["--listen", "nosuch.invalid:80", "--store", "memory:"], "--listen nosuch.invalid:80: "),
        (["--listen", "127.0.0.1:0", "--store", "memory:", "--shared-token", " "], "must be a non-empty line of text."),
        (["--shared-token", "--listen", "127.0.0.1:0", "--store", "memory:"], "must be given a value."),
    ],
)  # fmt: skip
def test_bad_input_is_said_to_be_such_and_nothing_is_served(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_can_never_work_is_told_of_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 200)
    done = run(tmp_path, "--listen", "127.0.0.1:0", "--store", "sqlite:///notes.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"conductor-jobs: database '.*notes\.txt' is no SQLite database.*\n", done.stderr)


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(tmp_path, "--listen", address, "--store", "memory:")
    assert done.returncode == 2
    assert f"--listen {address}: " in done.stderr
    assert "in use" in done.stderr


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['starlette'] = None; from conductor_jobs.cli import main; sys.exit(main())"
    code = code.replace("= None", "= None; sys.modules['starlette.applications'] = None")
    done = run(tmp_path, "--listen", "127.0.0.1:0", "--store", "memory:", code=code)
    assert done.returncode == 2
    assert "pip install 'conductor-jobs[web]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {}, "without a token, for this machine"),
        ([], {"BAA_SHARED_TOKEN": SECRET}, "for whoever bears the token"),
        (["--shared-token", SECRET], {}, "for whoever bears the token"),
    ],
)
def test_it_says_where_it_listens_and_for_whom_and_a_signal_ends_it(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "control-api", "--listen", "127.0.0.1:0", "--store", "memory:"]
    environment = os.environ | {"BAA_SHARED_TOKEN": ""} | variables
    with subprocess.Popen(
        [*command, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(
            rf"conductor-jobs: control API at http://127\.0\.0\.1:(\d+), {said}; store memory:\n", line
        )
        assert found, line
        # A client that says nothing holds up no stop.
        with socket.create_connection(("127.0.0.1", int(found[1]))):
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", ["tell", "look"])
def test_a_signal_ends_it_as_soon_as_it_begins_to_listen_and_while_its_store_has_not_answered_yet(
    tmp_path: Path, at: str
) -> None:
    code = f"""
import os, signal, sys, trio
from conductor_jobs import cli, cli_control_api

def {at}(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return trio.sleep_forever()

cli_control_api.{at} = {at}
sys.exit(cli.main())
"""
    done = run(tmp_path, "--listen", "127.0.0.1:0", "--store", "memory:", code=code)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
