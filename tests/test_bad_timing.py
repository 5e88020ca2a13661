"""Any number as any number of seconds: refused, naming field, value and rule, or safe in all that follows from it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from conductor_jobs import LeaseGrant, LeaseTiming
from conductor_jobs.clocks import Instant
from conductor_jobs.timing import POLL_INTERVAL

from .strategies import floats, foreign_numbers, huge, numbers

FIELDS = ("ttl", "renew_interval", "margin", "store_timeout", "heartbeat_interval")
any_number = st.one_of(numbers, foreign_numbers)
plausible = st.one_of(st.floats(0.001, 100), st.integers(1, 1000))
timings = st.dictionaries(st.sampled_from(FIELDS), st.one_of(any_number, plausible, plausible))


@given(timings)
@example({"ttl": 3e-323})
@example({"ttl": 1.7e308})
@example({"ttl": 10, "renew_interval": 5, "store_timeout": 2.4, "margin": 0.5})
@example({"ttl": 30, "store_timeout": 1e308})
@example({"ttl": True})
def test_whatever_timing_is_accepted_is_safe(given: dict[str, Any]) -> None:
    try:
        timing = LeaseTiming(**given)
    except ValueError as error:
        assert re.match(
            r"lease timing (is unsafe:|\w+ must be a positive number of seconds, not ).*\d", str(error) + "0"
        )
        return
    values = {name: getattr(timing, name) for name in FIELDS}
    assert all(type(value) is float and 0 < value < math.inf for value in values.values())
    # I10: two calls in a row may time out after a renewal falls due, and the work still has its margin.
    assert timing.renew_interval + 2 * timing.store_timeout + timing.margin < timing.ttl
    assert all(values[name] == float(given[name]) for name in given)
    assert 0 < timing.patience < timing.ttl * 2


@given(st.floats(1e-300, 1.7e308) | st.integers(1, 10**300))
def test_a_ttl_alone_is_always_safe(ttl: float) -> None:
    timing = LeaseTiming(ttl)
    assert timing.renew_interval + 2 * timing.store_timeout + timing.margin < timing.ttl


def some_timing(given: Mapping[str, Any]) -> LeaseTiming:
    try:
        return LeaseTiming(**given)
    except ValueError:
        assume(condition=False)
        raise


def grant(expires_in: float, *, is_leader: bool = True) -> LeaseGrant:
    return LeaseGrant("other", 1, is_leader, "acquire", 0.0, 0.0, expires_in)


sane_timings = st.fixed_dictionaries({"ttl": st.floats(0.001, 1e6)})
instants = st.builds(Instant, st.floats(0, 1e9), st.floats(0, 1e9))
seconds_left = st.one_of(st.floats(0, 100), st.floats(0, 2), st.floats(0, 1e300), st.just(0.0))


@given(sane_timings, instants, seconds_left)
def test_a_deadline_is_never_later_than_the_question_plus_the_ttl_less_the_margin(
    given: dict[str, Any], asked_at: Instant, expires_in: float
) -> None:
    timing = some_timing(given)
    deadline = timing.deadline(asked_at, grant(expires_in))
    for asked, until in zip(asked_at, deadline, strict=True):
        assert until <= asked + (timing.ttl - timing.margin)
        assert until <= asked + (expires_in - timing.margin)
    # More time in the answer never means less time for the work.
    later = timing.deadline(asked_at, grant(expires_in + 1))
    assert later.trio >= deadline.trio


@given(sane_timings, st.one_of(seconds_left, floats), st.booleans(), st.integers())
@example({"ttl": 30.0}, 0.35, False, 50)
@example({"ttl": 30.0}, 1.2, False, 100)
@example({"ttl": 30.0}, math.nan, True, 100)
@example({"ttl": 30.0}, math.inf, False, 50)
def test_a_standby_looks_again_in_time_whatever_it_was_answered(
    given: dict[str, Any], expires_in: float, watching: bool, priority: int
) -> None:
    timing = some_timing(given)
    look = timing.next_look(grant(expires_in, is_leader=False), watching=watching, priority=priority)
    # I9: nobody hammers a store, and a release is noticed within a second where nobody tells of it ...
    assert 0 <= look <= (timing.renew_interval + 0.8 if watching else 1.0)
    assert watching or look >= min(POLL_INTERVAL - 0.1, expires_in if expires_in > 0 else 1.0) - 0.2
    # ... and after a crash the next look lies within a second of the expiry.
    assert look <= expires_in + 1.0 or not expires_in > 0
    later = 0.5 if priority < 100 else 0.0
    if 0 < expires_in <= look:
        assert look - expires_in >= later or (priority < 100 and look <= timing.renew_interval + 0.1)


@given(sane_timings, st.one_of(st.integers(-10, 100), huge))
def test_a_retry_waits_no_longer_than_a_renewal_interval(given: dict[str, Any], failures: int) -> None:
    timing = some_timing(given)
    pause = timing.backoff(failures)
    assert 0 <= pause <= timing.renew_interval
    assert (pause == 0) == (failures <= 1)
