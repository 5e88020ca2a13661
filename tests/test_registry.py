"""What `TimedJobs` takes for a runner beside its name and function: schedules, misfires, crashes, retries."""

from typing import Any

import pytest

from conductor_jobs import Cron, Every, Retry, TimedJobs
from conductor_jobs.failures import shown


async def run(ctx: object) -> None: ...


def registry(**runners: Every | Cron | None) -> TimedJobs:
    jobs = TimedJobs()
    for name, schedule in runners.items():
        jobs.register_runner(name, run, schedule=schedule)
    return jobs


def test_runners_with_a_schedule_and_plain_ones_are_told_apart_and_keep_their_order() -> None:
    jobs = registry(b=None, d=Every(60), a=Cron("@daily"), c=None)
    assert jobs.runner_names == ("b", "d", "a", "c")
    assert [runner.name for runner in jobs.registered] == ["b", "d", "a", "c"]
    assert [runner.name for runner in jobs.runners] == ["b", "c"]
    assert {runner.name: runner.schedule for runner in jobs.scheduled} == {"d": Every(60), "a": Cron("@daily")}
    assert [runner.name for runner in jobs.scheduled] == ["d", "a"]


def test_a_runner_without_more_has_no_schedule_and_is_never_tried_again() -> None:
    (runner,) = registry(a=None).registered
    assert (runner.schedule, runner.retry, runner.misfire, runner.on_crash) == (None, None, "run_once", "report")


def test_what_is_given_is_kept_by_the_decorator_too() -> None:
    jobs, retry, schedule = TimedJobs(), Retry(attempts=5), Cron("@hourly")
    jobs.register_runner("a", run, schedule=schedule, misfire="run_all", on_crash="rerun", retry=retry)
    assert jobs.runner("b", schedule=schedule, misfire="skip", on_crash="report", retry=retry)(run) is run
    first, second = jobs.scheduled
    assert (first.schedule, first.misfire, first.on_crash, first.retry) == (schedule, "run_all", "rerun", retry)
    assert (second.schedule, second.misfire, second.on_crash, second.retry) == (schedule, "skip", "report", retry)


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"description": 3}, TypeError, "description must be a text, not 3."),
        ({"retry": 3}, TypeError, "retry must be a Retry, not 3."),
        ({"schedule": 60.0}, TypeError, "schedule must be Every(…) or Cron(…), not 60.0."),
        ({"schedule": "0 6 * * *"}, TypeError, "schedule must be Every(…) or Cron(…), not '0 6 * * *'."),
        ({"schedule": 0}, TypeError, "schedule must be Every(…) or Cron(…), not 0."),
        (
            {"schedule": Every(60), "misfire": "run"},
            ValueError,
            "misfire must be one of 'run_once', 'skip', 'run_all', not 'run'.",
        ),
        (
            {"schedule": Every(60), "misfire": False},
            ValueError,
            "misfire must be one of 'run_once', 'skip', 'run_all', not False.",
        ),
        (
            {"schedule": Every(60), "on_crash": ["rerun"]},
            ValueError,
            "on_crash must be one of 'report', 'rerun', not ['rerun'].",
        ),
        ({"on_crash": ""}, ValueError, "on_crash must be one of 'report', 'rerun', not ''."),
        ({"misfire": "skip"}, ValueError, "misfire is for a runner with a schedule, and it has none."),
        ({"on_crash": "rerun"}, ValueError, "on_crash is for a runner with a schedule, and it has none."),
    ],
    ids=str,
)
def test_a_bad_argument_is_refused_naming_runner_argument_value_and_rule(
    arguments: dict[str, Any], error: type[Exception], problem: str
) -> None:
    jobs = TimedJobs()
    for register in (lambda: jobs.register_runner("r", run, **arguments), lambda: jobs.runner("r", **arguments)(run)):
        with pytest.raises(error) as caught:
            register()
        assert str(caught.value) == f'Timed job runner "r": {problem}'
    assert jobs.registered == ()


@pytest.mark.parametrize(
    "name", [5, True, b"name", ["name"], object, "a\0b", "\ud800", "🦊" * 256], ids=lambda name: repr(name)[:9]
)
def test_a_name_that_not_every_store_could_keep_is_refused_with_its_rule(name: Any) -> None:
    jobs = TimedJobs()
    with pytest.raises(ValueError, match="name must be") as caught:
        jobs.register_runner(name, run)
    rule = "Timed job runner name must be a text of at most 255 characters that UTF-8 can hold, without NUL"
    assert str(caught.value) == f"{rule}, not {shown(name)}."
    assert jobs.registered == ()
    jobs.register_runner("🦊" * 255, run)


def test_a_runner_is_found_by_its_name() -> None:
    jobs = registry(a=None, b=Every(60))
    assert [jobs.named(name).name for name in ("a", "b")] == ["a", "b"]


@pytest.mark.parametrize("name", ["c", "A", "", None, ["a"]], ids=repr)
def test_who_asks_for_a_runner_that_there_is_not_is_told_those_that_there_are(name: Any) -> None:
    with pytest.raises(ValueError, match="No timed job") as caught:
        registry(a=None, b=None).named(name)
    assert str(caught.value) == f"No timed job runner is registered as {name!r}; there are: 'a', 'b'."
    with pytest.raises(ValueError, match="there are: none"):
        TimedJobs().named(name)


# Fingerprints


def test_a_fingerprint_is_a_short_text_that_is_the_same_in_every_process() -> None:
    # Written down, since a text that changed from one process to the next would be the same here.
    assert registry(a=Every(60), b=None).fingerprint == "ddf50988fce9eb06"
    assert TimedJobs().fingerprint != registry(a=None).fingerprint


def test_the_order_makes_no_difference_to_a_fingerprint_nor_what_is_no_matter_of_time() -> None:
    one, other = registry(a=Every(60), b=None, c=Cron("@daily")), registry(c=Cron("@daily"), b=None)
    other.register_runner("a", lambda ctx: None, schedule=Every(60.0), description="other", timeout=5, misfire="skip")
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"a": Every(60)}, id="one fewer"),
        pytest.param({"a": Every(60), "b": None, "c": None}, id="one more"),
        pytest.param({"a": Every(60), "B": None}, id="another name"),
        pytest.param({"a": Every(61), "b": None}, id="another interval"),
        pytest.param({"a": Every(60, jitter=1), "b": None}, id="another jitter"),
        pytest.param({"a": Cron("* * * * *"), "b": None}, id="another kind"),
        pytest.param({"a": Every(60), "b": Every(60)}, id="a schedule more"),
        pytest.param({"a": None, "b": None}, id="no schedule"),
        pytest.param({"a": None, "b": Every(60)}, id="the names changed about"),
    ],
)
def test_a_fingerprint_differs_when_a_name_or_a_schedule_does(other: dict[str, Every | Cron | None]) -> None:
    assert registry(**other).fingerprint != registry(a=Every(60), b=None).fingerprint


def test_the_zone_and_the_expression_of_a_cron_schedule_make_a_difference() -> None:
    schedules = (Cron("0 6 * * *"), Cron("0 7 * * *"), Cron("0 6 * * *", tz="Europe/Berlin"))
    assert len({registry(a=schedule).fingerprint for schedule in schedules}) == 3


def test_names_of_several_lines_do_not_run_together() -> None:
    assert registry(**{"a\nNone\n\nb": None}).fingerprint != registry(a=None, b=None).fingerprint


def test_a_fingerprint_is_that_of_the_runners_of_now() -> None:
    jobs = registry(a=None)
    before = jobs.fingerprint
    jobs.register_runner("Läufer", run)
    assert jobs.fingerprint not in (before, registry(a=None, b=None).fingerprint)
