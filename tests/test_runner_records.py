"""What is kept of runners: which claim takes the place of which, and due instants as numbers (I19)."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from conductor_jobs.runner_records import (
    Claim,
    ClaimStore,
    CursorStore,
    PauseStore,
    from_microseconds,
    keeps_claims,
    keeps_cursors,
    keeps_pauses,
    supersedes,
    to_microseconds,
)
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import NodeStore

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Claimed in term 5, for noon; its run has not ended.
OPEN = Claim("report", NOON, 5)
ENDED = Claim("report", NOON, 5, "completed")


@pytest.mark.parametrize(
    ("kept", "claim", "taken"),
    [
        pytest.param(None, OPEN, True, id="the first of a runner"),
        pytest.param(None, ENDED, True, id="the first of a runner, ended"),
        pytest.param(OPEN, Claim("report", NOON + MICROSECOND, 5), True, id="a later instant, the run before open"),
        pytest.param(ENDED, Claim("report", NOON + MICROSECOND, 5), True, id="a later instant"),
        pytest.param(ENDED, Claim("report", NOON + MICROSECOND, 4), True, id="a later instant in an older term"),
        pytest.param(ENDED, Claim("report", NOON + MICROSECOND, 6, "skipped"), True, id="a later instant, skipped"),
        pytest.param(OPEN, Claim("report", NOON - MICROSECOND, 5), False, id="an earlier instant"),
        pytest.param(ENDED, Claim("report", NOON - MICROSECOND, 6, "completed"), False, id="an earlier one, ended"),
        pytest.param(OPEN, OPEN, True, id="the same again"),
        pytest.param(ENDED, ENDED, True, id="the same end again"),
        pytest.param(OPEN, ENDED, True, id="its end"),
        pytest.param(OPEN, Claim("report", NOON, 6), True, id="taken over in a later term"),
        pytest.param(OPEN, Claim("report", NOON, 6, "unknown"), True, id="ended in a later term"),
        pytest.param(OPEN, Claim("report", NOON, 4), False, id="taken over in an older term"),
        pytest.param(OPEN, Claim("report", NOON, 4, "completed"), False, id="ended in an older term"),
        pytest.param(ENDED, OPEN, False, id="begun again after its end"),
        pytest.param(ENDED, Claim("report", NOON, 6), False, id="begun again in a later term"),
        pytest.param(ENDED, Claim("report", NOON, 5, "failed"), False, id="another end"),
        pytest.param(ENDED, Claim("report", NOON, 6, "completed"), False, id="the same end in a later term"),
    ],
)
def test_which_claim_is_kept_in_place_of_which(kept: Claim | None, claim: Claim, taken: bool) -> None:
    assert supersedes(claim, kept) is taken


def test_the_same_instant_in_another_time_zone_is_the_same() -> None:
    berlin = timezone(timedelta(hours=1))
    assert supersedes(msgspec.structs.replace(OPEN, due_at=NOON.astimezone(berlin)), OPEN)
    assert not supersedes(msgspec.structs.replace(OPEN, due_at=NOON.astimezone(berlin), result="failed"), ENDED)


@pytest.mark.parametrize(
    ("due_at", "microseconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2026, 3, 28, 12, 0, 0, 123_457, tzinfo=UTC), 1_774_699_200_123_457),
        (datetime(2026, 3, 28, 13, tzinfo=timezone(timedelta(hours=1))), 1_774_699_200_000_000),
        (datetime(2500, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), 16_725_225_600_999_999),
        (datetime.max.replace(tzinfo=UTC), 253_402_300_799_999_999),
    ],
)
def test_an_instant_is_a_whole_number_of_microseconds_and_comes_back_in_utc(
    due_at: datetime, microseconds: int
) -> None:
    assert to_microseconds(due_at) == microseconds
    again = from_microseconds(microseconds)
    assert (again, again.tzinfo) == (due_at, UTC)


@pytest.mark.parametrize("microseconds", [253_402_300_800_000_000, 2**63, -(2**62)])
def test_a_number_beyond_the_calendar_is_refused(microseconds: int) -> None:
    with pytest.raises(OverflowError):
        from_microseconds(microseconds)


def test_what_a_store_keeps_is_told_by_its_methods() -> None:
    whole, poor = MemoryLeaseStore(), NodeStore(MemoryLeaseStore())
    for protocol, keeps in ((ClaimStore, keeps_claims), (PauseStore, keeps_pauses), (CursorStore, keeps_cursors)):
        assert isinstance(whole, protocol)
        assert not isinstance(poor, protocol)
        assert keeps(whole)
        assert not keeps(poor)
