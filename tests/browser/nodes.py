"""Nodes as processes, each with its page."""

import re
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..local_api import TOKEN
from ..processes import Started, started
from ..test_cli_local_api import url_of

ROOT = Path(__file__).parent.parent.parent


#: Seconds. No machine is so slow that a lease that nobody takes away is lost.
LONG_TTL = "15"
#: Where the end of a lease is waited for.
SHORT_TTL = "4"


class Shown(NamedTuple):
    """A node, and where its page is."""

    process: Started
    url: str


@contextmanager
def node(
    folder: Path,
    app: str,
    node_id: str,
    *options: str,
    url: str = "http://127.0.0.1:0",
    ttl: str = LONG_TTL,
    **variables: str,
) -> Generator[Shown]:
    """Start a node with a local API, and a token for it unless the variables say otherwise."""
    told = {"BAA_NODE_ID": node_id, "BAA_CONDUCTOR_LOCAL_API_TOKEN": TOKEN} | variables
    with started(folder, app, "--local-api", url, "--lease-ttl-sec", ttl, *options, **told) as process:
        yield Shown(process, re.sub(r"//0\.0\.0\.0:", "//127.0.0.1:", url_of(process)))


def free_port() -> int:
    """Return a port that nobody has at present."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def outbox_in(folder: Path) -> str:
    """Put the outbox example into a folder; returns its APP."""
    shutil.copytree(ROOT / "examples/outbox", folder / "outbox", ignore=shutil.ignore_patterns("__pycache__"))
    return "outbox/outbox.py:jobs"
