"""The command `conductor-jobs control-api`: serves a lease store over HTTP until SIGTERM or SIGINT."""

import os
import re
from typing import Final

import click
import trio

from .control_api.asking import look
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
    if text is not None and text.startswith("--"):
        # An empty shell variable makes a value of the next flag.
        raise click.BadParameter("must be given a value.")
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
    try:
        trio.run(_serve, listen, store, shared_token)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("conductor_jobs"):
            raise
        raise click.ClickException(f"the control API needs {error.name}: pip install 'conductor-jobs[web]'.") from None
    except BaseException as error:
        if isinstance(cause := sole_exception(error), click.ClickException):
            raise cause from error
        raise
    return 0


async def _serve(listen: tuple[str, int], store_url: str, token: str | None) -> None:
    from .control_api.serving import GRACE, ControlServer
    from .http_serving.serving import urls_of

    everything = trio.CancelScope()
    server: ControlServer | None = None

    def request_stop() -> None:
        # Until somebody can be served there is nothing to wait for.
        (everything.cancel if server is None else server.request_stop)()

    async def run() -> None:
        nonlocal server
        with everything:
            async with open_store(store_url) as store:
                await _try(store)
                listeners = await _listeners(listen, token)
                server = ControlServer(store, token)
                who = "for whoever bears the token" if token is not None else "without a token, for this machine"
                where = f"{', '.join(urls_of(listeners))}, {who}; store {shown_url(store_url)}"
                tell(f"conductor-jobs: control API at {where}")
                await server.run(listeners)

    await run_until_signalled(run, request_stop, everything.cancel, GRACE)


async def _listeners(listen: tuple[str, int], token: str | None) -> list[trio.SocketListener]:
    from .http_serving.serving import NotSafe, open_listeners

    try:
        return await open_listeners(*listen, with_token=token is not None, token_setting=_VARIABLE)
    except (OSError, NotSafe) as error:
        reason = getattr(error, "strerror", None) or error_text(error)
        raise click.ClickException(f"--listen {listen[0]}:{listen[1]}: {reason}") from error


async def _try(store: LeaseStore) -> None:
    """Ask the store once, so that one that can never work is told of now. Raises Unusable."""
    problem = "no answer"
    with trio.move_on_after(_PATIENCE):
        try:
            await look(store, "conductor")
        except Unusable:
            raise
        except Exception as error:  # noqa: BLE001 - a store that is down may come up
            problem = error_text(error)
        else:
            return
    tell(f"conductor-jobs: control API: the lease store does not answer yet: {problem}")
