"""What one would write by hand: a Trio loop over N functions that journals what we journal, as durably.

    python -m benchmarks.bare_loop N a|b 0|1 SECONDS

The same entries with the same keys in a file of JSON lines, and I17: the start of a runner is in the kernel before its
code runs, and so is what it logs when `log` returns. It yields to other tasks once a millisecond, encodes with
msgspec, formats a time once a millisecond and a tick's details once a tick. It has nothing else: no lease, no term that
could end, no admission, no timeouts, no threads, no new file at midnight, no lock on the file, no rule for a full
disk or for details that cannot be encoded. What those cost is what this is compared for.
"""

import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import final

import msgspec
import trio

from .flat_out import Case, case_command, log_folder, outcome, run_flat_out

FRAMEWORK = "bare-loop"
COMMA = ord(",")
_encoder = msgspec.json.Encoder()
Details = dict[str, object]
Outcome = tuple[str, Details]


class Line(msgspec.Struct):
    """The keys that every entry has."""

    batch_id: str
    duration_ms: int | None
    error: str | None
    result: str
    runner: str
    stage: str
    ts: str = ""


@final
class LinesFile:
    """A file of JSON lines; what was added is in the kernel once `flush` returns."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "bare.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._buffer = bytearray()
        self._stamped = (-1, "")

    def add(self, now: int, line: Line, details: Details | bytes) -> None:
        """Add a line, stamped `now`; `details` may be encoded already."""
        line.ts = self._timestamp(now)
        buffer = self._buffer
        _encoder.encode_into(line, buffer, -1)
        if details:
            buffer[-1] = COMMA
            buffer += (details if isinstance(details, bytes) else _encoder.encode(details))[1:]
        buffer += b"\n"

    def flush(self) -> None:
        """Write what was added."""
        os.write(self._file, self._buffer)
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _timestamp(self, now: int) -> str:
        if now != self._stamped[0]:
            moment = datetime.fromtimestamp(now / 1000, UTC)
            self._stamped = (now, moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")
        return self._stamped[1]


class Context(msgspec.Struct):
    """What a runner is given."""

    runner: str
    batch_id: str
    trigger: str
    file: LinesFile | None

    def log(self, stage: str, result: str, details: Details) -> None:
        """Write an entry of the runner's own."""
        if self.file is not None:
            self.file.add(_now(), Line(self.batch_id, None, None, result, self.runner, stage), details)
            self.file.flush()


Run = Callable[[Context], Awaitable[Outcome]]


@final
class BareLoop:
    """Runs functions one after the other, for as long as nobody cancels it."""

    def __init__(self, runners: dict[str, Run], file: LinesFile | None) -> None:
        self._runners = runners
        self._file = file
        self._ticks = 0

    async def tick(self) -> bool:
        """Run every function once; return whether none failed."""
        began = yielded_at = _now()
        self._ticks += 1
        batch_id = f"timed-jobs-{began}-{self._ticks}"
        facts: Details = {"runner_count": len(self._runners), "trigger": "manual"}
        self._add(began, Line(batch_id, None, None, "running", FRAMEWORK, "tick_started"), facts)
        failed = 0
        start_details = _encoder.encode(_start_details())
        for name, run in self._runners.items():
            failed += not await self._run(batch_id, name, run, start_details)
            if (now := _now()) != yielded_at:
                await trio.lowlevel.checkpoint()
                yielded_at = now
        await trio.lowlevel.checkpoint()
        facts = {"failed_runner_count": failed, "successful_runner_count": len(self._runners) - failed, **facts}
        now = _now()
        self._add(now, Line(batch_id, now - began, None, "scheduled", FRAMEWORK, "tick_completed"), facts)
        if self._file is not None:
            self._file.flush()
        return not failed

    async def _run(self, batch_id: str, name: str, run: Run, start_details: bytes) -> bool:
        began = _now()
        if self._file is not None:
            self._file.add(began, Line(batch_id, None, None, "running", name, "runner_started"), start_details)
            self._file.flush()
        try:
            result, details = await run(Context(name, batch_id, "manual", self._file))
        except Exception as error:  # noqa: BLE001 - one runner's failure is not the next one's
            now = _now()
            self._add(now, Line(batch_id, now - began, str(error), "failed", name, "runner_failed"), {})
            return False
        now = _now()
        self._add(now, Line(batch_id, now - began, None, result, name, "runner_completed"), details)
        return True

    def _add(self, now: int, line: Line, details: Details) -> None:
        if self._file is not None:
            self._file.add(now, line, details)


def _start_details() -> Details:
    return {
        "controller_id": "node",
        "host": "host",
        "max_messages_per_tick": 10,
        "max_tasks_per_tick": 8,
        "settle_delay_ms": 12000,
        "term": 1,
        "trigger": "manual",
    }


def _now() -> int:
    return time.time_ns() // 1_000_000


async def returns(_: Context) -> Outcome:
    """Do what variant `a` does."""
    return "ok", {"projected_messages": 0}


async def logs(ctx: Context) -> Outcome:
    """Do what variant `b` does."""
    ctx.log("scan_window", "ok", {"cursor": "message:1"})
    return "ok", {"projected_messages": 0}


def measure(case: Case) -> dict[str, object]:
    """Run ticks for about the seconds of the case, after a warm-up."""
    with log_folder(case) as folder:
        file = None if folder is None else LinesFile(folder)
        run: Run = logs if case.variant == "b" else returns
        loop = BareLoop({f"renewal.runner-{number}": run for number in range(case.runners)}, file)
        ran = trio.run(run_flat_out, loop.tick, case.seconds)
        if file is not None:
            file.close()
        return outcome("bare loop", case, ran, folder, 0)


main = case_command(measure)

if __name__ == "__main__":
    main()
