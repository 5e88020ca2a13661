"""The examples of embedding, each run for real: under hypercorn, uvicorn and gunicorn, as scripts, on a foreign store.

What they did is judged by their journals.
"""

import os
import signal
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .servers import (
    EXAMPLES,
    PATIENCE,
    WORKERS,
    Process,
    assert_drained,
    assert_each_tick_once,
    example,
    load_example,
    of,
    pid_of_leader,
    runs,
    started,
)

plain_def: Any = load_example("plain_def")


def lines_of_code(text: str) -> int:
    """Count the lines that are neither empty nor a docstring of one line."""
    return sum(bool(line.strip()) and not line.strip().startswith('"""') for line in text.splitlines())


def test_examples_are_short() -> None:
    lengths = {file.name: len(file.read_text().splitlines()) for file in EXAMPLES.glob("*.py")}
    assert len(lengths) == 8
    assert {name: length for name, length in lengths.items() if length > 40} == {
        "third_party_store.py": lengths["third_party_store.py"]
    }
    assert lines_of_code((EXAMPLES / "third_party_store.py").read_text()) <= 70


# A Trio web server


def test_trio_web_server_answers_while_a_signal_drains_the_tick_in_flight(tmp_path: Path) -> None:
    with started(tmp_path, "-W", "error", example("trio_web.py"), BIND="127.0.0.1:0") as server:
        server.journaled("leader_started")
        assert server.get() == "leader"
        server.next_tick()
        server.popen.send_signal(signal.SIGTERM)
        server.journaled("stopping")
        assert server.get() == "leader"
        assert server.popen.wait(PATIENCE) == 0
    assert_drained(runs(tmp_path)[server.pid])


def test_trio_web_server_that_cannot_listen_stops_the_conductor_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = "{}:{}".format(*taken.getsockname())
        with started(tmp_path, example("trio_web.py"), BIND=bind) as server:
            assert server.popen.wait(PATIENCE) == 1
    assert "Address already in use" in server.output.read_text()
    assert runs(tmp_path)[server.pid][-1].stage == "stopped"


# A script


def test_script_runs_one_tick_only_if_it_leads_and_drains_when_signalled(tmp_path: Path) -> None:
    def once() -> tuple[int, str]:
        with started(tmp_path, "-W", "error", example("script.py"), "--once") as process:
            return process.popen.wait(PATIENCE), process.output.read_text()

    with started(tmp_path, "-W", "error", example("script.py")) as service:
        service.journaled("leader_started")
        assert once() == (0, "skipped_not_leader\n")
        service.next_tick()
        assert service.stop() == 0
    assert_drained(runs(tmp_path)[service.pid])
    assert once() == (0, "scheduled\n")
    assert assert_each_tick_once(tmp_path) == [1, 2]


# Four workers


def kill_the_one_that_leads(server: Process) -> tuple[int, int]:
    """Show that one of four leads, kill it in a tick, wait until another leads and a worker replaces it."""
    server.journaled("started", count=WORKERS)
    server.journaled("reported")
    leader = pid_of_leader(server.folder)
    found = runs(server.folder)
    assert len(found) == WORKERS
    assert [pid for pid, run in found.items() if of(run, "runner_started")] == [leader]
    assert leader != server.pid
    server.next_tick(by=leader)
    os.kill(leader, signal.SIGKILL)
    server.journaled("leader_started", count=2)
    successor = pid_of_leader(server.folder)
    assert successor != leader
    server.journaled("reported", by=successor)
    server.journaled("started", count=WORKERS + 1)
    return leader, successor


def assert_only_the_killed_did_not_stop(folder: Path, killed: int) -> None:
    assert [pid for pid, run in runs(folder).items() if run[-1].stage != "stopped"] == [killed]
    # While all are stopping, one that stands by may still come to lead, for a moment, after the leader's release.
    assert assert_each_tick_once(folder, killed)[:2] == [1, 2]


def test_one_of_four_uvicorn_workers_runs_the_job_and_another_when_it_is_killed(tmp_path: Path) -> None:
    options = ("--workers", str(WORKERS), "--lifespan", "on", "--port", "0", "asgi_app:app")
    with started(tmp_path, "-m", "uvicorn", *options) as server:
        killed, successor = kill_the_one_that_leads(server)
        assert server.get() in ("leader", "standby")
        server.next_tick(by=successor)
        # The worker itself, for uvicorn's parent process takes up to half a second to pass a signal on.
        os.kill(successor, signal.SIGTERM)
        server.journaled("stopped", by=successor)
        assert server.stop() == 0
    assert_only_the_killed_did_not_stop(tmp_path, killed)
    assert_drained(runs(tmp_path)[successor])


def test_uvicorn_does_not_serve_without_its_jobs(tmp_path: Path) -> None:
    (tmp_path / "conductor.db").write_text("no database at all\n" * 100)
    with started(tmp_path, "-m", "uvicorn", "--lifespan", "on", "--port", "0", "asgi_app:app") as server:
        assert server.popen.wait(PATIENCE) == 3
    assert "is no SQLite database" in server.output.read_text()


GUNICORN = (
    "-m",
    "gunicorn",
    "-c",
    example("gunicorn_conf.py"),
    "-b",
    "127.0.0.1:0",
    "--no-control-socket",
    "wsgi_app:app",
)


def test_one_of_four_gunicorn_workers_runs_the_job_and_another_when_it_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, *GUNICORN) as server:
        killed, successor = kill_the_one_that_leads(server)
        assert server.get() in ("/ leader", "/ standby")
        server.next_tick(by=successor)
        assert server.stop() == 0
    assert_only_the_killed_did_not_stop(tmp_path, killed)
    assert_drained(runs(tmp_path)[successor])


def test_gunicorn_that_loads_the_app_before_it_forks_drains_at_ctrl_c(tmp_path: Path) -> None:
    with started(tmp_path, *GUNICORN, "--preload") as server:
        server.journaled("started", count=WORKERS)
        server.next_tick()
        leader = pid_of_leader(tmp_path)
        # As a terminal does: to the parent and to all of its workers, which are sent another by the parent.
        os.killpg(server.pid, signal.SIGINT)
        assert server.popen.wait(PATIENCE) == 0
    assert server.pid not in runs(tmp_path)
    assert all(run[-1].stage == "stopped" for run in runs(tmp_path).values())
    assert_drained(runs(tmp_path)[leader])


# A plain function


def rows(folder: Path) -> Counter[int]:
    """Count the rows that were written in each term."""
    return Counter(int(line.split()[0]) for line in (folder / "export.txt").read_text().splitlines())


def test_plain_def_stops_writing_when_the_lease_is_lost_and_is_waited_for_by_a_stop(tmp_path: Path) -> None:
    with started(tmp_path, "-W", "error", example("plain_def.py"), LEASE_TTL="1") as process:
        process.next_tick()
        # Whoever holds the write lock keeps the lease from being renewed.
        with closing(sqlite3.connect(tmp_path / "conductor.db", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            process.journaled("runner_cancelled")
        process.next_tick()
        assert process.stop() == 0
    run = runs(tmp_path)[process.pid]
    cut, *_ = of(run, "runner_cancelled")
    assert (cut.result, cut.error) == ("lease_expired", "term 1 of lease 'conductor' is over: lease_expired")
    # Of its last tick in that term; there may have been whole ones before.
    completed = {entry.batch_id for entry in of(run, "runner_completed")}
    whole = sum(entry.batch_id in completed for entry in of(run, "runner_started") if entry.details["term"] == 1)
    assert 1 <= rows(tmp_path)[1] - whole * plain_def.ROWS < plain_def.ROWS
    assert rows(tmp_path)[of(run, "runner_started")[-1].details["term"]] == plain_def.ROWS
    assert_drained(run)


# A service


def ask(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        return connection.makefile().read()


def test_leader_service_moves_to_another_process_when_it_is_killed_and_ends_with_a_stop(tmp_path: Path) -> None:
    with started(tmp_path, "-W", "error", example("leader_service.py"), PORT="0") as leader:
        first = int(leader.printed(r"term 1 listens on \('127.0.0.1', (\d+)\)"))
        with started(tmp_path, "-W", "error", example("leader_service.py"), PORT="0") as standby:
            standby.journaled("started", by=standby.pid)
            assert ask(first) == "term 1\n"
            leader.stop(signal.SIGKILL)
            second = int(standby.printed(r"^term 2 listens on \('127.0.0.1', (\d+)\)"))
            assert ask(second) == "term 2\n"
            with pytest.raises(ConnectionRefusedError):
                ask(first)
            assert standby.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        ask(second)
    assert [entry.stage for entry in runs(tmp_path)[standby.pid]][-3:] == ["leader_ended", "lease_released", "stopped"]
