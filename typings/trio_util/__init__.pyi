# What we use of trio-util, typed: the package ships no type marker.
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

class AsyncValue(Generic[T]):
    value: T
    def __init__(self, value: T) -> None: ...
    async def wait_value(self, value_or_predicate: T | Callable[[T], bool], *, held_for: float = ...) -> T: ...
    async def wait_transition(self, value_or_predicate: T | Callable[[T, T], bool] = ...) -> tuple[T, T]: ...

def compose_values(
    *, _transform_: Callable[[Any], R] = ..., **value_map: AsyncValue[Any]
) -> AbstractContextManager[AsyncValue[R]]: ...
async def wait_any(*functions: Callable[[], Awaitable[object]]) -> None: ...
