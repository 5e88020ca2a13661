"""Where leader's work is, as lines for a person: a thread's stack, what blocks the loop, where a task waits.

Finding the frames and making lines of them are two steps: the first is quick and may be done on the loop, the second
reads source files.
"""

import itertools
import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import final

import msgspec
import trio

from .term import Work

# Outermost first, each with the line that it is at.
Frames = list[tuple[FrameType, int]]

_PACKAGE = __name__.partition(".")[0]
# Of a recursion, and of work with a thousand tasks, some tell enough.
_DEEPEST = 20
_MOST_PLACES = 5


@final
class Finding(msgspec.Struct, frozen=True):
    """A piece of work, and the places where it is, by name; its own task, or thread, has none."""

    work: Work
    places: list[tuple[str | None, Frames]]

    def lines(self) -> list[str]:
        """Return `file:line in function: code` for each call, the outermost first, under the names of the places."""
        found: list[str] = []
        for name, frames in self.places[:_MOST_PLACES]:
            found += [*([] if name is None else [f"{name}:"]), *_lines(frames)]
        return found


def in_threads(works: Iterable[Work]) -> list[Finding]:
    """Tell where the work in worker threads is."""
    in_thread = [(work, thread_id) for work in works if (thread_id := work.doing.thread_id) is not None]
    return [Finding(work, [(None, _without_engine(_of_thread(thread_id)))]) for work, thread_id in in_thread]


def waiting(works: Iterable[Work]) -> list[Finding]:
    """Tell where each task of the work on the loop waits; called on the loop, of which all else then waits."""
    found: list[Finding] = []
    for work in _on_loop(works):
        own, *others = work.tasks()
        places = [(task.name, _of_task(task)) for task in others]
        found.append(Finding(work, [(None, _without_engine(_of_task(own))), *places]))
    return found


def blocking(works: Iterable[Work], loop_thread: int) -> list[Finding]:
    """Tell which work blocks the loop, and where; if none does, what it is that keeps all of it from ending."""
    on_loop, stack = _on_loop(works), _of_thread(loop_thread)
    culprits = [Finding(work, places) for work in on_loop if (places := _running(work, stack))]
    return culprits or [Finding(work, [("the loop, in other code", stack)]) for work in on_loop]


def _on_loop(works: Iterable[Work]) -> list[Work]:
    return [work for work in works if work.doing.thread_id is None]


def _running(work: Work, stack: Frames) -> list[tuple[str | None, Frames]]:
    for task in work.tasks():
        outermost = getattr(task.coro, "cr_frame", None)
        if frames := list(itertools.dropwhile(lambda each: each[0] is not outermost, stack)):  # noqa: B023 - used at once
            return [(None, _without_engine(frames)) if task is work.task else (task.name, frames)]
    return []


def _of_thread(thread_id: int) -> Frames:
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - documented, and the only way
    return [] if frame is None else list(traceback.walk_stack(frame))[::-1]


def _of_task(task: trio.lowlevel.Task) -> Frames:
    try:
        return list(task.iter_await_frames())
    except Exception:  # noqa: BLE001 - a user's awaitable may be anything; what is raised here would end Trio's run
        return []


def _without_engine(frames: Frames) -> Frames:
    """Leave out the way through the engine to the user's code; nothing, if it ends in the engine."""
    below = itertools.dropwhile(_is_ours, itertools.dropwhile(lambda each: not _is_ours(each), frames))
    return list(below) or frames


def _lines(frames: Frames) -> list[str]:
    summary = traceback.StackSummary.extract(frames[-_DEEPEST:])
    return [f"{each.filename}:{each.lineno} in {each.name}: {each.line}" for each in summary]


def _is_ours(each: tuple[FrameType, int]) -> bool:
    return str(each[0].f_globals.get("__name__")).partition(".")[0] == _PACKAGE
