"""Rules of `conformance`: heartbeats, for stores that remember nodes."""

import math
from collections.abc import Sequence

import trio

from ..failures import shown
from ..lease import LeaseStore, Node, NodeRegistry, NodeSeen, NodeState, keeps_nodes
from .conformance_clients import ALPHA, ALPHA_AGAIN, BETA, Clients, Observed, fresh_lease, require

_STATES: tuple[NodeState, ...] = ("leader", "standby", "stopped")


async def a_node_is_remembered_as_it_described_itself(clients: Clients) -> None:
    """Of a node everything is remembered as told: names, role, priority, version, incarnation, state, fingerprint."""
    lease = fresh_lease()
    described = {
        "a": Node("a", "host-a"),
        "b": Node("b", "hôst\n'b\"", "standby", -(2**63), "1.0+ß 🦊"),
        "c": Node("c", "x" * 255, "primary", 2**63 - 1, "0"),
    }
    expected: dict[str, tuple[Node, str, NodeState, str]] = {
        name: (node, f"inc {number}", _STATES[number], f"{number}f" * 8)
        for number, (name, node) in enumerate(described.items())
    }
    for heartbeat in expected.values():
        await _heartbeat(clients, lease, *heartbeat)
    seen = await _nodes(clients, lease)
    told = {each.node.node_id: (each.node, each.incarnation, each.state, each.fingerprint) for each in seen}
    require(told == expected, f"after the heartbeats of {expected} it remembered {told}.")
    require(await _nodes(clients, fresh_lease()) == [], "it remembered nodes of a lease that nobody asked for.")


async def a_later_heartbeat_takes_the_place_of_the_last(clients: Clients) -> None:
    """Of the heartbeats of one node the last one counts, and the time at which it was seen goes on."""
    lease = fresh_lease()
    await _heartbeat(clients, lease, Node("a", "old", "primary", 100, "1"), "1", "leader")
    (first,) = await _nodes(clients, lease)
    await trio.sleep(0.02)
    node = Node("a", "new", "standby", 7, "2")
    for fingerprint in ("another", "yet another"):
        await _heartbeat(clients, lease, node, "2", "standby", fingerprint)
    later = await _nodes(clients, lease)
    require(len(later) == 1, f"of one node there were {len(later)}: {later}.")
    told = (later[0].node, later[0].incarnation, later[0].state, later[0].fingerprint)
    require(
        told == (node, "2", "standby", "yet another"),
        f"after a heartbeat of {node}, incarnation '2', it remembered {later[0]}.",
    )
    require(
        first.last_seen_at <= later[0].last_seen_at,
        f"a node was seen at {first.last_seen_at}, and later at {later[0].last_seen_at}.",
    )


async def a_node_is_known_since_the_first_heartbeat_of_its_incarnation(clients: Clients) -> None:
    """When a node was first seen stays over the heartbeats of an incarnation, and is anew for the next one."""
    lease, node = fresh_lease(), Node("a", "host")
    seen: list[NodeSeen] = []
    told: list[tuple[str, NodeState]] = [("1", "standby"), ("1", "leader"), ("2", "standby"), ("2", "stopped")]
    for incarnation, state in told:
        await _heartbeat(clients, lease, node, incarnation, state)
        seen += await _nodes(clients, lease)
        await trio.sleep(0.02)
    since = [each.first_seen_at for each in seen]
    for first, later in ((0, 1), (2, 3)):
        require(
            since[first] == since[later], f"first seen at {since[first]}, it was later first seen at {since[later]}."
        )
    require(
        seen[1].last_seen_at <= since[2],
        f"its next incarnation was first seen at {since[2]}, before the last heartbeat of the one before, "
        f"{seen[1].last_seen_at}.",
    )


async def nodes_are_ordered_by_their_ids(clients: Clients) -> None:
    """Nodes are ordered by their ids, character by character, whatever the language of the server."""
    lease = fresh_lease()
    ids = ["b", "B", "a", "Z", "ä", "a-b", "aa", "10", "9", "日", "🦊", "_"]
    for node_id in ids:
        await _heartbeat(clients, lease, Node(node_id, "host"), "1", "standby")
    told = [each.node.node_id for each in await _nodes(clients, lease)]
    require(told == sorted(ids), f"nodes came in the order {told}, not {sorted(ids)}.")


async def heartbeats_leave_leases_alone(clients: Clients) -> None:
    """A heartbeat gives nobody a lease and takes it from nobody, and many at once hold up no renewal."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            node, state = Node(f"n-{number:02}", "host"), _STATES[number % 3]
            nursery.start_soon(_heartbeat, clients, lease, node, "1", state)
        await clients.still_held(lease, ALPHA, 1)
    for holder in (BETA, ALPHA_AGAIN):
        await _heartbeat(clients, lease, Node(holder.node_id, "host"), holder.incarnation, "leader")
        grant = await clients.campaign(lease, holder)
        require(not grant.is_leader, f"after a heartbeat as leader somebody was granted a lease that is held: {grant}.")
    await clients.still_held(lease, ALPHA, 1)
    require(len(await _nodes(clients, lease)) == 22, "of the heartbeats of 22 nodes at once some were forgotten.")


async def _heartbeat(
    clients: Clients, lease: str, node: Node, incarnation: str, state: NodeState, fingerprint: str = "of its runners"
) -> None:
    await _registry(clients.next_store()).heartbeat(lease, node, incarnation, state, fingerprint)


async def _nodes(clients: Clients, lease: str) -> Sequence[NodeSeen]:
    answer = list(await _registry(clients.next_store()).nodes(lease))
    for seen in answer:
        require(isinstance(seen, NodeSeen), f"nodes returned {shown(seen)}, which is no NodeSeen.")
        first, last = seen.first_seen_at, seen.last_seen_at
        for at in (first, last):
            require(type(at) in (int, float) and math.isfinite(at), f"a node was seen at {at!r}.")
        require(first <= last, f"a node was seen at {last}, and first seen later, at {first}.")
    return answer


def _registry(store: LeaseStore) -> NodeRegistry:
    if not keeps_nodes(store):
        raise Observed("one client remembers nodes, and another does not.")
    return store
