"""`conductor-jobs nodes`: how a lease stands, and which of its nodes are alive."""

import json
import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Holder, Node, cli
from conductor_jobs.lease import NodeState
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

SECRET = "hunter2"
ALPHA = Holder("alpha", "a1")
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def local(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds):%Y-%m-%d %H:%M:%S}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteLeaseStore:
    """One with a leader, a standby that was seen a long time ago, and one that has stopped."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteLeaseStore(".conductor/state/conductor.db")
    trio.run(store.acquire, "conductor", ALPHA, 30.0)
    heartbeats: list[tuple[str, Node, str, NodeState]] = [
        ("conductor", Node("alpha", "mini", version="1.2"), "a1", "standby"),
        ("conductor", Node("beta", "maxi", "standby", version="1.1"), "b1", "standby"),
        ("conductor", Node("gamma\n", "maxi\x1b[31m", "standby", 7, "1.1"), "g1", "stopped"),
        ("reports", Node("delta", "mini"), "d1", "standby"),
    ]
    for heartbeat in heartbeats:
        trio.run(store.heartbeat, *heartbeat, "f")
    with sqlite3.connect(store.path) as database:
        database.execute(
            "UPDATE node SET first_seen_at = 1000, last_seen_at = last_seen_at - 7200 WHERE node_id = 'beta'"
        )
    database.close()
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["nodes", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_person_gets_a_table(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    lines = re.sub(rf"{MOMENT}  {MOMENT}, \d+ s", "<since>              <now>", out).splitlines()
    assert re.fullmatch(r"lease conductor: alpha holds term 1, for [23]\d\.\d s if not renewed", lines[0])
    assert re.sub(rf"{MOMENT}, 2 h", "<then>", lines.pop(3)) == (
        f"beta   silent   maxi          standby  50        1.1      {local(1000)}  <then> ago"
    )
    assert lines[1:] == [
        "NODE   STATE    HOST          ROLE     PRIORITY  VERSION  SINCE                LAST SEEN",
        "alpha  leader   mini          primary  100       1.2      <since>              <now> ago",
        "gamma  stopped  maxi\\x1b[31m  standby  7         1.1      <since>              <now> ago",
    ]


def test_a_program_gets_one_json_object(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--json")
    standing: dict[str, Any] = json.loads(out)
    nodes: list[dict[str, Any]] = standing.pop("nodes")
    assert code == 0
    assert 20 < standing.pop("expires_in") <= 30
    assert standing == {"lease_name": "conductor", "holder_id": "alpha", "term": 1}
    assert [(node["node_id"], node["state"], node["alive"]) for node in nodes] == [
        *(("alpha", "standby", True), ("beta", "standby", False), ("gamma", "stopped", False))
    ]
    assert 7200 <= nodes[1]["seconds_ago"] < 7300
    assert nodes[1]["first_seen_at"] == 1000
    assert nodes[0]["first_seen_at"] == nodes[0]["last_seen_at"]
    assert set(nodes[0]) == {
        *("node_id", "host", "role", "priority", "version", "incarnation", "state", "alive"),
        *("first_seen_at", "last_seen_at", "seconds_ago"),
    }


def test_looking_changes_nothing(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> list[Any]:
        with sqlite3.connect(store.path) as database:
            found = [list(database.execute(f"SELECT * FROM {table}")) for table in ("lease", "released", "node")]
        database.close()
        return found

    before = rows()
    run(capsys)
    assert rows() == before


def test_another_lease_has_nodes_of_its_own(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--lease-name", "reports")
    assert code == 0
    first, _, row = out.splitlines()
    assert first == "lease reports: nobody ever held it"
    assert row.split()[:2] == ["delta", "standby"]


def test_a_lease_that_was_released_is_free(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    trio.run(store.release, "conductor", ALPHA)
    first, *_ = run(capsys)[1].splitlines()
    assert first == "lease conductor: free; alpha held term 1, the last one"


def test_a_ttl_decides_who_is_silent(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--json", "--lease-ttl-sec", "9000")
    assert code == 0
    assert [node["alive"] for node in json.loads(out)["nodes"]] == [True, True, False]


def test_a_store_that_nobody_has_used_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert err.endswith("conductor.db' does not exist: no node has used this store.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--store", f"redis://:{SECRET}@127.0.0.1:1"], 1, "store redis://***@127.0.0.1:1: "),
        (["--store", f"mysql://:{SECRET}@db"], 2, "in one line."),
        (["--lease-name", "two\nlines"], 2, "must be a non-empty line of text, not 'two\\nlines'."),
        (["--lease-ttl-sec", "x"], 2, "lease ttl must be a positive integer, not 'x'."),
        (["--role", "primary"], 2, "No such option '--role'."),
    ],
)
def test_what_goes_wrong_is_said_without_credentials(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, out, err = run(capsys, *arguments)
    assert (ended, out) == (code, "")
    assert message in err
    assert SECRET not in err


def test_a_store_in_memory_has_no_nodes_of_other_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--store", "memory:") == (0, "lease conductor: nobody ever held it\n", "")
