"""The command `conductor-jobs config`: the settings that `start` would have."""

import json
from typing import Any

import click
import trio

from .apps import App, load_app, opened
from .cli_settings import complete_files, configured, settings_as_flags
from .settings import NOT_CONFIGURED

_SUCCEEDED = 0


@click.command("config")
@click.argument("app", required=False, metavar="[APP]", shell_complete=complete_files)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@settings_as_flags()
def config_command(app: str | None, as_json: bool, **flags: str | None) -> int:
    """Print the settings that `start` with the same arguments would have.

    An APP that is a context manager is opened for it, and closed; no job runs.
    """
    config = configured(flags)
    if app is not None:
        config = config.with_code(trio.run(_jobs_config, load_app(app)))
    shown = config.shown()
    if as_json:
        click.echo(json.dumps(shown))
    else:
        for name, value in shown.items():
            click.echo(f"{name}: {_words(value)}")
    return _SUCCEEDED


async def _jobs_config(app: App) -> Any:
    async with opened(app) as (jobs, _):
        return jobs.config


def _words(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return NOT_CONFIGURED if value is None else str(value)
