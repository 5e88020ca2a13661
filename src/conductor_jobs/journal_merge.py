"""Several journal files as one history, in the order of time, with few of them open at once."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

F = TypeVar("F")
T = TypeVar("T")


def merged(
    files: Sequence[F],
    read: Callable[[F], Iterator[T]],
    begins: Callable[[F], str],
    moment: Callable[[T], str],
) -> Iterator[T]:
    """Yield what `read` yields of each file, by `moment`; what comes from one file keeps its order.

    `begins(file)` is the moment of its first. A file is opened when that has come: a standby that is restarted again
    and again leaves a file for each start, of a few lines, and so many cannot be open at once.
    """
    waiting = sorted(((begins(file), place) for place, file in enumerate(files)), reverse=True)
    opened: list[tuple[str, int, T, Iterator[T]]] = []
    while waiting or opened:
        while waiting and (not opened or waiting[-1][0] <= opened[0][0]):
            _, place = waiting.pop()
            rest = read(files[place])
            for first in rest:
                heapq.heappush(opened, (moment(first), place, first, rest))
                break
        if opened:
            _, place, item, rest = opened[0]
            yield item
            for following in rest:
                heapq.heapreplace(opened, (moment(following), place, following, rest))
                break
            else:
                heapq.heappop(opened)
