"""What nodes run while the page is looked at: written into a folder, and started as processes."""

from pathlib import Path
from typing import Final

NASTY: Final = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "javascript:alert(3)//${alert(4)}{{alert(5)}}",
    "a/b?c#d%2e e\u202e\u0301 \N{PILE OF POO}",
)

#: A small shop: each runner has a schedule or runs with the ticks, and fails while a file of its name is there.
SHOP: Final = """
import sys
from pathlib import Path

import trio
from conductor_jobs import Cron, Every, RunnerResult, TickContext, TimedJobs

jobs = TimedJobs(interval=2.0)


def register(name, description, schedule, seconds, timeout=None):
    async def run(ctx: TickContext) -> RunnerResult | None:
        await trio.sleep(seconds * (1 + hash((name, ctx.batch_id)) % 7 / 7))
        if (Path(__file__).parent / f"{name}.fails").exists():
            raise ConnectionRefusedError("no answer from mail.example:587 (is the relay up?)")
        return None

    jobs.register_runner(name, run, description=description, schedule=schedule, timeout=timeout)


register("outbox", "delivers what is waiting", None, 0.02)
register("projection", "follows the ledger", None, 0.005)
register("report", "mails the daily report", Every(3), 0.15)
register("invoices", "sends what is due", Every(2), 0.03)
register("exchange-rates", "asks the central bank", Every(5), 0.3)
register("backup", "copies the database", Cron("30 2 * * *", tz="Europe/Berlin"), 0.1)
register("cleanup", "forgets old sessions", Cron("*/10 * * * *"), 0.05)
register("reindex", "makes the search index anew", Every(20), 8)
"""

#: Two hundred runners, some of which fail.
MANY: Final = """
import trio
from conductor_jobs import Cron, Every, TickContext, TimedJobs

jobs = TimedJobs(interval=3600)


def register(number):
    async def run(ctx: TickContext) -> None:
        await trio.sleep(0.01 * (number % 13))
        if number % 67 == 66:
            raise ValueError(f"row {number} of customers.csv has no e-mail address")

    schedule = Cron(f"{number % 60} {number % 24} * * *", tz="Europe/Berlin") if number % 2 else Every(10 + number % 40)
    jobs.register_runner(f"customer-{number:03}.synchronise", run, schedule=schedule)


for number in range(200):
    register(number)
"""

NONE: Final = """
from conductor_jobs import TimedJobs

jobs = TimedJobs(interval=3600)
"""

#: Names that would do harm if they were taken for HTML, in names, descriptions and errors.
HOSTILE: Final = f"""
from conductor_jobs import Every, TickContext, TimedJobs

jobs = TimedJobs(interval=3600)


def register(name):
    async def run(ctx: TickContext) -> None:
        raise ValueError(name)

    jobs.register_runner(name, run, description=name, schedule=Every(1))


for name in {NASTY!r}:
    register(name)
"""

APPS: Final = {"shop.py": SHOP, "many.py": MANY, "none.py": NONE, "hostile.py": HOSTILE}


def write_apps(folder: Path) -> Path:
    """Write the apps into a folder, and return it."""
    for name, text in APPS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder
