"""The command `conductor-jobs nodes`: how the lease stands, and which nodes there are, by their heartbeats."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, final

import click
import msgspec
import trio

from .cli_settings import settings_as_flags
from .cli_store import existing_store
from .config import Config, read_config
from .control_api.asking import look
from .errors import Unusable
from .lease import LeaseGrant, NodeSeen, NodeState, Role, keeps_nodes
from .store_calls import call_store, problem_text
from .stores.urls import shown_url
from .terminal import one_line

_SETTINGS: Final = ("public_api_base", "store", "lease_ttl_sec", "shared_token", "state_dir", "lease_name")
_COLUMNS: Final = ("NODE", "STATE", "HOST", "ROLE", "PRIORITY", "VERSION", "SINCE", "LAST SEEN")


@final
class SeenNode(msgspec.Struct, frozen=True):
    """A node as `nodes --json` prints it; times in unix seconds by the store's clock.

    `alive`: it has not said that it stopped, and was seen within the ttl of a lease. `first_seen_at`: the first
    heartbeat of this incarnation.
    """

    node_id: str
    host: str
    role: Role
    priority: int
    version: str
    incarnation: str
    state: NodeState
    alive: bool
    first_seen_at: float
    last_seen_at: float
    seconds_ago: float


@final
class Standing(msgspec.Struct, frozen=True):
    """How a lease stands, and its nodes. `expires_in` is in seconds, 0 when nobody holds the lease."""

    lease_name: str
    holder_id: str | None
    term: int
    expires_in: float
    nodes: list[SeenNode]


@click.command("nodes")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@settings_as_flags(_SETTINGS)
def nodes_command(as_json: bool, **flags: str | None) -> int:
    """Print who holds the lease, and every node that ever sent a heartbeat for it.

    A node that has not said that it stopped, and was not seen for the lease's ttl, is silent: it has died, hangs, or is
    cut off from the store. SINCE is the first heartbeat of a node's present life. Exit code 0; 1: the store gave no
    answer; 2: bad input.
    """
    config = read_config(flags, os.environ)
    try:
        standing = trio.run(_standing, config)
    except Unusable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a store raises
        click.echo(f"conductor-jobs: store {shown_url(config.store_url)}: {problem_text(error)}", err=True)
        return 1
    click.echo(msgspec.json.encode(standing).decode() if as_json else "\n".join(_lines(standing)))
    return 0


async def _standing(config: Config) -> Standing:
    timing, lease_name = config.timing, config["lease_name"]
    async with existing_store(config) as store:
        grant = await call_store(lambda: look(store, lease_name), timing.store_timeout)
        registry = store
        if not keeps_nodes(registry):
            raise Unusable(f"store {shown_url(config.store_url)} keeps no nodes.")
        seen = await call_store(lambda: registry.nodes(lease_name), timing.store_timeout)
    # Both times are the store's, whatever this machine's clock says.
    now = grant.lease_expires_at - grant.expires_in
    return _as_it_stands(lease_name, grant, seen, now, timing.ttl)


def _as_it_stands(lease_name: str, grant: LeaseGrant, seen: Sequence[NodeSeen], now: float, ttl: float) -> Standing:
    nodes = [
        SeenNode(
            *(each.node.node_id, each.node.host, each.node.role, each.node.priority, each.node.version),
            incarnation=each.incarnation,
            state=each.state,
            alive=each.state != "stopped" and now - each.last_seen_at <= ttl,
            first_seen_at=each.first_seen_at,
            last_seen_at=each.last_seen_at,
            seconds_ago=round(max(0.0, now - each.last_seen_at), 3),
        )
        for each in seen
    ]
    return Standing(lease_name, grant.holder_id, grant.term, round(grant.expires_in, 3), nodes)


def _lines(standing: Standing) -> list[str]:
    rows = [_COLUMNS, *(_row(node, standing) for node in standing.nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [_headline(standing), *(table if standing.nodes else [])]


def _headline(standing: Standing) -> str:
    lease = f"lease {one_line(standing.lease_name)}"
    if standing.holder_id is None:
        return f"{lease}: nobody ever held it"
    holder = one_line(standing.holder_id)
    if standing.expires_in <= 0:
        return f"{lease}: free; {holder} held term {standing.term}, the last one"
    return f"{lease}: {holder} holds term {standing.term}, for {standing.expires_in:.1f} s if not renewed"


def _row(node: SeenNode, standing: Standing) -> tuple[str, ...]:
    described = (node.node_id, _state(node, standing), node.host, node.role, str(node.priority), node.version)
    last_seen = f"{_moment(node.last_seen_at)}, {_ago(node.seconds_ago)} ago"
    return (*map(one_line, described), _moment(node.first_seen_at), last_seen)


def _moment(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _state(node: SeenNode, standing: Standing) -> str:
    if node.state != "stopped" and not node.alive:
        return "silent"
    # The lease is right at once, and a node says that it leads with its next heartbeat.
    leads = node.node_id == standing.holder_id and standing.expires_in > 0
    return "leader" if leads else "standby" if node.state == "leader" else node.state


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
