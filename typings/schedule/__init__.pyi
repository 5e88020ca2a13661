# What the benchmarks use of schedule, for whoever has not installed it.
from collections.abc import Callable
from datetime import datetime
from typing import Self

class Job:
    next_run: datetime | None
    @property
    def second(self) -> Self: ...
    def do(self, job_func: Callable[[], object]) -> Self: ...

class Scheduler:
    jobs: list[Job]
    def every(self, interval: int = ...) -> Job: ...
    def run_pending(self) -> None: ...
