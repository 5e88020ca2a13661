"""Registry drift: nodes that have other runners registered than the leader, as a deploy may leave them behind."""

from collections.abc import Iterable
from typing import Final, final

from .journal import LEASE
from .lease import NodeSeen
from .recorder import Recorder

# A node that missed so many heartbeats is not asked after: it is gone, or will be told apart when it is back.
_MISSED: Final = 3


@final
class Drift:
    """Who differs from this node while it leads, journaled once for each node and each difference."""

    def __init__(self, recorder: Recorder, heartbeat_interval: float) -> None:
        self._recorder = recorder
        self._recent = _MISSED * heartbeat_interval
        self._differing: dict[str, str] = {}

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes that differ, in order."""
        return tuple(sorted(self._differing))

    def forget(self) -> None:
        """Know of nothing: this node does not lead."""
        self._differing = {}

    def compare(self, nodes: Iterable[NodeSeen], fingerprint: str) -> None:
        """Take what the store knows of all nodes, and journal what has changed against `fingerprint`, the leader's."""
        seen = list(nodes)
        # By the store's clock, and the leader's own heartbeat is among the latest.
        since = max((each.last_seen_at for each in seen), default=0.0) - self._recent
        living = [each for each in seen if each.state != "stopped" and each.last_seen_at >= since]
        differing = {each.node.node_id: each for each in living if each.fingerprint != fingerprint}
        for node_id, each in differing.items():
            if self._differing.get(node_id) != each.fingerprint:
                self._tell("registry_differs", "differs", each, fingerprint)
        for each in living:
            if each.node.node_id in self._differing and each.node.node_id not in differing:
                self._tell("registry_agrees", "agrees", each, fingerprint)
        self._differing = {node_id: each.fingerprint for node_id, each in differing.items()}

    def _tell(self, stage: str, result: str, seen: NodeSeen, fingerprint: str) -> None:
        details = {
            "fingerprint": seen.fingerprint,
            "leader_fingerprint": fingerprint,
            "node_id": seen.node.node_id,
            "version": seen.node.version,
        }
        self._recorder.write(LEASE, stage, result=result, details=details)
