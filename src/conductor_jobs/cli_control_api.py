"""The command `conductor-jobs control-api`: serves a lease store over HTTP until SIGTERM or SIGINT."""

import os
import re
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Final

import click
import trio

from .errors import Unusable
from .failures import error_text, sole_exception
from .lease import LeaseStore
from .rules import LINE, STORE_URL
from .signals import run_until_signalled
from .stderr import tell
from .stores import open_store
from .stores.urls import shown_url

_VARIABLE: Final = "BAA_SHARED_TOKEN"
_HIGHEST_PORT: Final = 65535
# For the store's first answer; after that the server serves, and says what fails.
_PATIENCE: Final = 5.0


def _address(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) > _HIGHEST_PORT:
        raise click.BadParameter(f"must be HOST:PORT, or [IPv6 ADDRESS]:PORT, not {text!r}.")
    return found[1] or found[2], int(found[3])


def _store(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    url: str | None = STORE_URL.parse(text)
    try:
        open_store(text if url is None else url)
    except (ValueError, Unusable) as error:
        raise click.BadParameter(str(error)) from None
    if url is None:
        raise click.BadParameter(f"must be {STORE_URL.words}.")
    return url


def _token(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    text = text if text is not None else os.environ.get(_VARIABLE) or None
    if text is not None and LINE.parse(text) is None:
        raise click.BadParameter(f"must be {LINE.words}.")
    return None if text is None else LINE.parse(text)


@click.command("control-api")
@click.option(
    "--listen", required=True, metavar="HOST:PORT", callback=_address, help="beyond loopback only with a token"
)
@click.option("--store", required=True, metavar=STORE_URL.metavar, callback=_store, help="where the leases are kept")
@click.option(
    "--shared-token",
    metavar=LINE.metavar,
    callback=_token,
    help=f"what clients must bear; better as the variable, for others can read flags  [{_VARIABLE}]",
)
def control_api_command(listen: tuple[str, int], store: str, shared_token: str | None) -> int:
    """Serve a lease store over HTTP, for nodes that reach nothing but a URL, until SIGTERM or SIGINT.

    Exit code 0: ended by a signal; 2: bad input, or an address or a store that cannot be used; 130: by two signals.
    """
    serving = _serving()
    try:
        trio.run(_serve, serving, listen, store, shared_token)
    except BaseException as error:
        cause = sole_exception(error)
        if isinstance(cause, OSError | serving.NotSafe):
            reason = getattr(cause, "strerror", None) or error_text(cause)
            raise click.ClickException(f"--listen {listen[0]}:{listen[1]}: {reason}") from error
        raise
    return 0


def _serving() -> ModuleType:
    try:
        from .control_api import serving
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the control API needs {error.name}: install conductor-jobs with its extra `web`."
        ) from None
    return serving


async def _serve(serving: ModuleType, listen: tuple[str, int], store_url: str, token: str | None) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(store_url))
        await _try(serving, store)
        server = serving.ControlServer(store, token)
        listeners = await serving.open_listeners(*listen, with_token=token is not None)
        who = "for whoever bears the token" if token is not None else "without a token, for this machine"
        where = f"{', '.join(serving.urls_of(listeners))}, {who}; store {shown_url(store_url)}"
        tell(f"conductor-jobs: control API at {where}")
        at_once = trio.CancelScope()

        async def run() -> None:
            with at_once:
                await server.run(listeners)

        await run_until_signalled(run, server.request_stop, at_once.cancel, serving.GRACE)


async def _try(serving: ModuleType, store: LeaseStore) -> None:
    """Ask the store once, so that one that can never work is told of now. Raises Unusable."""
    problem = "no answer"
    with trio.move_on_after(_PATIENCE):
        try:
            await serving.look(store, "conductor")
        except Unusable:
            raise
        except Exception as error:  # noqa: BLE001 - a store that is down may come up
            problem = error_text(error)
        else:
            return
    tell(f"conductor-jobs: control API: the lease store does not answer yet: {problem}")
