"""What our tests use of croniter, which comes without types."""

from datetime import datetime

class croniter:  # noqa: N801 - so it is called
    def __init__(self, expr_format: str, start_time: datetime, *, implement_cron_bug: bool = False) -> None: ...
    def get_next(self, ret_type: type[datetime]) -> datetime: ...
