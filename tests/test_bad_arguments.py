"""Any object as any argument of the API: refused before anything runs, naming field, value and rule, or usable."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_jobs import Conductor, Node, TimedJobs, TimedJobsConfig
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MockWallClock, tick_context

from .strategies import anything, foreign_numbers, numbers

SETTINGS = TimedJobsConfig.__struct_fields__
NODE = ("node_id", "host", "role", "priority", "version")
CONDUCTOR = (
    *("jobs", "store", "lease_name", "node", "timing", "journal", "log_dir", "journal_sync"),
    *("drain_timeout", "renew_failure_threshold", "wall_clock", "boot_clock"),
)
any_number = st.one_of(numbers, foreign_numbers)


def made(make: Callable[..., Any], given: Mapping[str, Any], *, fields: Mapping[str, str]) -> Any:
    """Return what is made of the arguments, or None once their refusal has named one of them as `fields` says."""
    try:
        return make(**given)
    except (ValueError, TypeError) as error:
        assert type(error) in (ValueError, TypeError)
        named = [name for name in given if fields[name] in str(error)]
        assert named, f"{error} names none of {list(given)}"
        assert any(shows(error, given[name]) for name in named) or "unsafe" in str(error)
        return None


def shows(error: Exception, value: Any) -> bool:
    try:
        return repr(value) in str(error) or repr(float(value)) in str(error)
    except Exception:
        # What has no repr is told as what it is.
        return f"<{type(value).__name__}>" in str(error)


@given(st.dictionaries(st.sampled_from(SETTINGS), st.one_of(any_number, anything), min_size=1))
def test_any_jobs_settings_are_refused_by_name_or_what_they_say_they_are(given: dict[str, Any]) -> None:
    jobs = made(TimedJobs, given, fields={name: name for name in SETTINGS})
    context = made(tick_context, given, fields={name: name for name in SETTINGS})
    assert (jobs is None) == (context is None)
    if jobs is None or context is None:
        with pytest.raises((ValueError, TypeError)):
            TimedJobs().configure(**given)
        return
    assert jobs.config == context.config
    assert 0 < jobs.config.interval < math.inf
    assert 0 <= jobs.config.settle_delay < math.inf
    assert all(type(value) in (int, float) for value in given.values())
    assert jobs.config.max_messages_per_tick >= 1
    assert jobs.config.max_tasks_per_tick >= 1


@given(st.one_of(any_number, anything))
def test_any_remaining_lease_of_a_test_context_is_a_number_of_seconds_or_refused(remaining: Any) -> None:
    if remaining is None or callable(remaining):
        return
    context = made(tick_context, {"lease_remaining": remaining}, fields={"lease_remaining": "lease_remaining"})
    if context is not None:
        assert 0 <= context.lease_remaining() <= float(remaining)
    clock = made(MockWallClock, {"start": remaining}, fields={"start": "MockWallClock start"})
    assert clock is None or math.isfinite(clock())


@given(st.dictionaries(st.sampled_from(NODE), st.one_of(any_number, anything, st.sampled_from(["primary", "standby"]))))
@example({"node_id": "\ud800"})
@example({"priority": 2**63})
@example({"version": 0})
def test_any_node_is_refused_by_name_or_one_that_every_store_can_keep(given: dict[str, Any]) -> None:
    node = made(Node, given, fields={name: name for name in NODE})
    if node is None:
        return
    for text in (node.node_id, node.host, node.version):
        assert text == text.strip() != ""
        assert text.encode()
    assert node.role in ("primary", "standby")
    assert -(2**63) <= node.priority < 2**63


@given(st.dictionaries(st.sampled_from(CONDUCTOR), st.one_of(any_number, anything)))
@example({"node": "mini-main"})
@example({"timing": 30})
@example({"timing": 0})
@example({"log_dir": 5})
@example({"wall_clock": 5})
@example({"boot_clock": None})
@example({"lease_name": "\ud800"})
def test_any_argument_of_a_conductor_is_refused_by_name_before_anything_runs(given: dict[str, Any]) -> None:
    arguments = {"jobs": TimedJobs(), "store": MemoryLeaseStore(), **given}
    conductor = made(Conductor, arguments, fields={name: name for name in CONDUCTOR})
    if conductor is None:
        return
    for name, value in given.items():
        assert (
            value is None
            or callable(value)
            or name in ("lease_name", "log_dir", "drain_timeout", "renew_failure_threshold")
        )
    assert not conductor.started
