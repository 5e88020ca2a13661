"""`--since`: spans and times, as journals write them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from conductor_jobs import cli
from conductor_jobs.since import since_ts

NOW = datetime(2026, 4, 2, 12, 0, 0, 250_000, UTC)


@pytest.mark.parametrize(
    ("text", "ts"),
    [
        ("0s", "2026-04-02T12:00:00.250Z"),
        ("90s", "2026-04-02T11:58:30.250Z"),
        ("15m", "2026-04-02T11:45:00.250Z"),
        (" 2h ", "2026-04-02T10:00:00.250Z"),
        ("3d", "2026-03-30T12:00:00.250Z"),
        ("2026-04-01T00:00:00Z", "2026-04-01T00:00:00.000Z"),
        ("2026-04-01T02:00+02:00", "2026-04-01T00:00:00.000Z"),
        ("2026-04-01T00:00:00.1239Z", "2026-04-01T00:00:00.123Z"),
    ],
)
def test_a_span_counts_back_and_a_time_is_taken_in_utc(text: str, ts: str) -> None:
    assert since_ts(text, NOW) == ts


def test_a_time_without_an_offset_is_a_local_time() -> None:
    local = datetime(2026, 4, 1, 6, 30).astimezone(UTC)
    assert since_ts("2026-04-01T06:30", NOW) == f"{local:%Y-%m-%dT%H:%M:%S}.000Z"
    assert since_ts("2026-04-01", NOW) == since_ts("2026-04-01T00:00", NOW)


@pytest.mark.parametrize(
    "text", ["", "2", "2 h", "-2h", "2h30m", "2w", "1.5h", "٣d", "999999999d", "yesterday", "0001-01-01T00:00+14:00"]
)
@pytest.mark.parametrize("command", ["logs", "history"])
def test_anything_else_is_refused_with_the_rule(
    text: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert since_ts(text, NOW) is None
    assert cli.main([command, str(tmp_path), f"--since={text}"]) == 2
    out, err = capsys.readouterr()
    rule = "must be a span such as 90s, 15m, 2h or 3d, or an ISO 8601 time such as 2026-03-28T06:00"
    assert f"Invalid value for '--since': {rule}, not {text!r}." in err
    assert out == ""
