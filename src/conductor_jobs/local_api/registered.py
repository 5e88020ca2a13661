"""The registered runners, as answers."""

from typing import Any

from ..conductor import Conductor
from .answers import RunnerAnswer
from .recent import Recent


def runner_answers(conductor: Conductor, recent: Recent) -> list[RunnerAnswer]:
    """Return every registered runner, in the order of registration."""
    statuses: Any = getattr(conductor, "runner_statuses", None)
    if statuses is not None:
        return [_answer(each, recent) for each in statuses()]
    return [
        RunnerAnswer(
            *(each.name, each.description, each.timeout, None, None, None, None, False, None, None, False),
            runs=recent.runs(each.name),
        )
        for each in conductor.jobs.registered
    ]


def _answer(status: Any, recent: Recent) -> RunnerAnswer:
    raise NotImplementedError
