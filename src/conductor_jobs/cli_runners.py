"""The command `conductor-jobs runners`: what an APP registers, when it is due, and what became of it."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
import trio

from .apps import App, load_app, opened
from .cli_settings import complete_files, settings_as_flags
from .cli_store import existing_store
from .config import Config, read_config
from .errors import Unusable
from .lease import LeaseStore
from .printing import printed, reader_may_leave, wants_colour
from .runner_records import keeps_claims, keeps_pauses
from .runners import Runner
from .runners_report import Kept, listed, report_lines
from .stderr import tell
from .store_calls import call_store, problem_text
from .stores.urls import shown_url

_SETTINGS: Final = (
    "public_api_base",
    "store",
    "lease_name",
    "lease_ttl_sec",
    "timed_jobs_interval_ms",
    "shared_token",
    "state_dir",
)


@click.command("runners")
@click.argument("app", shell_complete=complete_files)
@click.option("--json", "as_json", is_flag=True, help="print a list of JSON objects")
@settings_as_flags(_SETTINGS)
def runners_command(app: str, as_json: bool, **flags: str | None) -> int:
    """Print the runners that APP registers: schedules, the next due instants, and what the store keeps of them.

    APP is what `start` takes; one that is a context manager is opened, and closed; no runner runs. Claims and pauses
    are read from the store that `start` would use; where it is not there, or does not answer, `-` stands in their
    place, and stderr says why. Exit code 0; 2: bad input.
    """
    config = read_config(flags, os.environ)
    runners, interval = trio.run(_registered, load_app(app), config)
    kept = trio.run(_kept, config)
    report = [listed(runner, interval, kept, datetime.now(UTC)) for runner in runners]
    with reader_may_leave():
        if as_json:
            click.echo(json.dumps([msgspec.to_builtins(each) for each in report]))
        elif sys.stdout is not None:
            coloured = wants_colour(sys.stdout)
            sys.stdout.buffer.writelines(printed(line, coloured=coloured) for line in report_lines(report))
    return 0


async def _registered(app: App, config: Config) -> tuple[Sequence[Runner], float]:
    async with opened(app) as (jobs, _):
        jobs.configure(**config.jobs_changes())
        return jobs.registered, jobs.config.interval


async def _kept(config: Config) -> Kept:
    try:
        async with existing_store(config) as store:
            return await _asked(store, config["lease_name"], config.timing.store_timeout)
    except Exception as error:  # noqa: BLE001 - whatever a store raises, schedules can be told without it
        problem = str(error) if isinstance(error, Unusable) else problem_text(error)
        tell(f"conductor-jobs: claims and pauses are not known: store {shown_url(config.store_url)}: {problem}")
        return Kept()


async def _asked(store: LeaseStore, lease_name: str, timeout: float) -> Kept:
    keeper, pauser = store, store
    if not keeps_claims(keeper) or not keeps_pauses(pauser):
        raise Unusable("it keeps no claims.")
    claims = await call_store(lambda: keeper.claims(lease_name), timeout)
    paused = await call_store(lambda: pauser.paused(lease_name), timeout)
    return Kept({claim.runner: claim for claim in claims}, frozenset(paused))
