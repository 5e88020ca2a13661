"""Programs that embed a conductor, run for real and judged by their journals."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from conductor_jobs import JournalEntry, read_journal

EXAMPLES = Path(__file__).parent.parent / "examples" / "embedding"
PATIENCE = 60.0
TTL = 4.0
WORKERS = 4
T = TypeVar("T")
Run = list[JournalEntry]


def load_example(name: str) -> Any:
    """Import an example as `python NAME.py` would: its folder is where imports are looked for first."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


class Process:
    """A program in a folder, with every process that it starts itself, and what they print and journal."""

    def __init__(self, folder: Path, *command: str, **variables: str) -> None:
        self.folder = folder
        self.output = folder / f"output-{time.monotonic_ns()}.txt"
        environment = {"LEASE_TTL": str(TTL), "PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1"} | variables
        with self.output.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.popen.pid

    def printed(self, pattern: str) -> str:
        """Wait until something has been printed that matches, and return its first group."""
        return self.wait_for(lambda: re.search(pattern, self.output.read_text()), pattern)[1]

    def journaled(self, stage: str, *, by: int | None = None, count: int = 1) -> JournalEntry:
        """Wait until the folder's journal has that many entries of a stage, and return the last of them."""

        def look() -> JournalEntry | None:
            found = [entry for pid, run in runs(self.folder).items() if by in (None, pid) for entry in of(run, stage)]
            return max(found, key=lambda entry: entry.ts) if len(found) >= count else None

        return self.wait_for(look, f"{count} {stage}")

    def next_tick(self, *, by: int | None = None) -> None:
        """Wait until a tick has begun, just now."""
        begun = sum(len(of(run, "runner_started")) for pid, run in runs(self.folder).items() if by in (None, pid))
        self.journaled("runner_started", by=by, count=begun + 1)

    def get(self) -> str:
        """Ask the web server for its page, on a connection of its own."""
        address = self.printed(r"(http://127\.0\.0\.1:\d+)")
        with urllib.request.urlopen(address, timeout=PATIENCE) as response:
            return str(response.read(), "utf-8")

    def wait_for(self, look: Callable[[], T | None], what: str) -> T:
        """Look again and again until there is something."""
        deadline = time.monotonic() + PATIENCE
        while (found := look()) is None:
            assert self.popen.poll() is None, f"ended before {what}:\n{self.output.read_text()}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.output.read_text()}"
            time.sleep(0.01)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(PATIENCE)


@contextmanager
def started(folder: Path, *command: str, **variables: str) -> Generator[Process, None, None]:
    """Start a program, and leave nothing of it behind."""
    process = Process(folder, *command, **variables)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.popen.wait(PATIENCE)
    assert process.popen.returncode != 0 or "Traceback" not in process.output.read_text()


def example(name: str) -> str:
    return str(EXAMPLES / name)


def runs(folder: Path) -> dict[int, Run]:
    """Return what each process journaled; one after another may have written to one file, never two at once."""
    found: dict[int, Run] = {}
    run: Run = []
    for file in (folder / "logs/timed-jobs").glob("*.jsonl"):
        for entry in read_journal(file):
            if entry.stage == "started":
                run = found.setdefault(entry.details["pid"], [])
            run.append(entry)
    return found


def of(run: Run, *stages: str) -> Run:
    return [entry for entry in run if entry.stage in stages]


def pid_of_leader(folder: Path) -> int:
    """Return the process that began the latest term."""
    terms = {entry.details["term"]: pid for pid, run in runs(folder).items() for entry in of(run, "leader_started")}
    return terms[max(terms)]


class Span(NamedTuple):
    """A term, when it began, and when its last work was journaled."""

    term: int
    began: str
    last: str


def spans(run: Run) -> list[Span]:
    found = []
    for leader in of(run, "leader_started"):
        term = leader.details["term"]
        batches = {entry.batch_id for entry in of(run, "runner_started") if entry.details["term"] == term}
        work = [entry.ts for entry in run if entry.batch_id in batches]
        assert not work or leader.ts <= work[0]
        found.append(Span(term, leader.ts, max(work, default=leader.ts)))
    return found


def assert_each_tick_once(folder: Path, *killed: int) -> list[int]:
    """Every batch ran once, and to its end unless its process was killed; terms rise and do not overlap."""
    found = runs(folder)
    for pid, run in found.items():
        begun = Counter(entry.batch_id for entry in of(run, "runner_started"))
        ended = Counter(entry.batch_id for entry in of(run, "runner_completed"))
        assert set(begun.values()) <= {1}
        assert len(begun - ended) <= (1 if pid in killed else 0)
        assert not of(run, "runner_failed", "runner_cancelled", "tick_interrupted", "tick_failed")
    terms = sorted(chain.from_iterable(map(spans, found.values())))
    assert all(one.term < other.term and one.last <= other.began for one, other in pairwise(terms))
    return [span.term for span in terms]


def assert_drained(run: Run) -> None:
    """The tick in flight when the stop began ran to its end; only then was the lease given back."""
    stages = [entry.stage for entry in run if entry.stage != "reported"]
    assert stages[stages.index("stopping") :] == [
        *("stopping", "runner_completed", "tick_completed", "leader_ended", "lease_released", "stopped")
    ]


# Their length
