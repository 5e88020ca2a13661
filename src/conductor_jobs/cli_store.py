"""The store of a configuration, for commands that look at it: looking makes no database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from .config import Config
from .errors import Unusable
from .stores import OpenableStore, open_store


@asynccontextmanager
async def existing_store(config: Config) -> AsyncGenerator[OpenableStore, None]:
    """Enter the store that `start` would use. Raises Unusable if it is a file that no node has written to."""
    async with open_store(config.store_url, token=config["shared_token"]) as store:
        _require_made(getattr(store, "path", None))
        yield store


def _require_made(path: Path | None) -> None:
    if path is not None and not (path.exists() and path.stat().st_size):
        raise Unusable(f"database {str(path)!r} does not exist: no node has used this store.")
