from collections.abc import Awaitable, Callable

from apscheduler.triggers.base import BaseTrigger

class AsyncIOScheduler:
    def add_job(
        self,
        func: Callable[[], Awaitable[object]],
        trigger: BaseTrigger,
        *,
        max_instances: int = ...,
        misfire_grace_time: int | None = ...,
    ) -> object: ...
    def start(self, paused: bool = ...) -> None: ...
    def pause(self) -> None: ...
    def shutdown(self, wait: bool = ...) -> None: ...
