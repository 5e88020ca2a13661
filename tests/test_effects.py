"""The judge of effects: each violation that it must find, each case that it must admit; and when a loop has turned."""

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs.testing.effects import Effect, LoopTurns, judge_effects
from conductor_jobs.violations import Violation


def act(at: float, term: int, life: str, *, turned_at: float | None = None) -> Effect:
    """Return an effect; the loop turned right before it unless told otherwise."""
    return Effect(at, term, life, at if turned_at is None else turned_at)


def found(*effects: Effect) -> list[str]:
    return [str(violation) for violation in judge_effects(effects)]


# What it must find


def test_an_effect_after_a_later_terms_first_is_found() -> None:
    assert judge_effects([act(1, 1, "a"), act(2, 2, "b"), act(3, 1, "a")]) == [
        Violation("3.000000", "I3", "a acted in term 1, though a later term had been at work since 2.000000")
    ]


def test_every_such_effect_is_found_in_the_order_of_time() -> None:
    late = [act(at, 1, "a") for at in (5.0, 3.0, 4.0)]
    violations = judge_effects([act(1, 1, "a"), act(2, 2, "b"), *late])
    assert [violation.at for violation in violations] == ["3.000000", "4.000000", "5.000000"]


def test_terms_that_work_by_turns_are_found_though_each_pauses_for_the_other() -> None:
    turns = [act(at, at % 2 + 1, "ab"[at % 2]) for at in range(2, 10)]
    assert len(found(*turns)) == 3


def test_a_term_that_has_not_acted_before_is_found_too() -> None:
    assert len(found(act(1, 2, "b"), act(2, 1, "a"))) == 1


def test_what_counts_is_the_first_effect_of_any_later_term() -> None:
    (violation,) = found(act(1, 1, "a"), act(2, 3, "c"), act(3, 2, "b", turned_at=1.5), act(4, 1, "a", turned_at=2.5))
    assert "a acted in term 1, though a later term had been at work since 2.000000" in violation


def test_what_counts_is_a_later_terms_first_effect_and_not_its_last() -> None:
    assert len(found(act(1, 1, "a"), act(2, 2, "b"), act(4, 2, "b"), act(5, 1, "a", turned_at=3))) == 1


def test_a_term_of_two_lives_is_found() -> None:
    assert found(act(1, 1, "a"), act(2, 1, "b")) == ["2.000000: I3: term 1 belongs to a, and b acted in it"]


def test_two_lives_of_one_node_are_two() -> None:
    assert len(found(act(1, 7, "n1.1"), act(2, 7, "n1.2"))) == 1


def test_effects_are_judged_in_the_order_of_time_whatever_order_they_were_written_in() -> None:
    assert len(found(act(3, 1, "a"), act(2, 2, "b"), act(1, 1, "a"))) == 1


def test_a_thread_whose_check_passed_after_a_later_term_began_is_found() -> None:
    assert len(found(act(1, 1, "a"), act(2, 2, "b"), act(5, 1, "a", turned_at=2.001))) == 1


# What it must admit


def test_nothing_is_no_violation() -> None:
    assert found() == []


def test_terms_one_after_the_other_are_admitted_with_gaps_and_by_turns_of_the_lives() -> None:
    assert found(*(act(at, 3 * (at // 4) + 1, "ab"[at // 4 % 2]) for at in range(40))) == []


def test_what_the_loop_could_not_prevent_is_admitted() -> None:
    assert found(act(1, 1, "a"), act(2, 2, "b"), act(9, 1, "a", turned_at=1.5)) == []
    assert found(act(1, 1, "a"), act(2, 2, "b"), act(9, 1, "a", turned_at=2)) == []


def test_a_process_frozen_between_its_clock_and_its_act_is_admitted_for_one_effect_only() -> None:
    before, frozen, thawed = act(1, 1, "a"), act(1.9, 1, "a", turned_at=1.8), act(7, 1, "a", turned_at=6.9)
    assert found(before, act(2, 2, "b"), act(3, 2, "b"), frozen) == []
    assert len(found(before, act(2, 2, "b"), act(3, 2, "b"), frozen, thawed)) == 1


def test_of_one_moment_the_order_given_counts() -> None:
    assert found(act(1, 1, "a"), act(2, 1, "a"), act(2, 2, "b")) == []


# When a loop has turned


async def test_a_loop_has_turned_when_work_that_sleeps_goes_on(autojump_clock: MockClock) -> None:
    turns = LoopTurns(trio.current_time)
    trio.lowlevel.add_instrument(turns)
    await trio.sleep(3)
    assert turns.turned_at == trio.current_time() == 3


async def test_a_loop_that_is_blocked_has_not_turned(mock_clock: MockClock) -> None:
    turns = LoopTurns(trio.current_time)
    trio.lowlevel.add_instrument(turns)
    await trio.lowlevel.checkpoint()
    mock_clock.jump(5)  # what time.sleep(5), or being frozen, does
    assert turns.turned_at == 0
    await trio.lowlevel.checkpoint()
    assert turns.turned_at == 5


@pytest.mark.parametrize("woken_by", ["its own deadline", "another task"])
async def test_work_that_another_task_woke_before_the_turn_goes_on_to_its_next_checkpoint(
    woken_by: str, mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    """As the module says: for work that waits by sleeping the judge is exact, for other work it is too strict."""
    turns, event, acted_at = LoopTurns(trio.current_time), trio.Event(), list[float]()
    trio.lowlevel.add_instrument(turns)

    async def work() -> None:
        with trio.CancelScope(deadline=2):
            await (trio.sleep_until(1) if woken_by == "its own deadline" else event.wait())
            acted_at.append(turns.turned_at)
            await trio.lowlevel.checkpoint()
            acted_at.append(turns.turned_at)

    nursery.start_soon(work)
    await trio.testing.wait_all_tasks_blocked()
    event.set()
    mock_clock.jump(5)
    await trio.testing.wait_all_tasks_blocked()
    assert acted_at == ([] if woken_by == "its own deadline" else [5])
