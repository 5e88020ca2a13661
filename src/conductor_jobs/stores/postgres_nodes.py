"""What the PostgreSQL store keeps of nodes."""

from typing import Any, Final

from ..lease import Node, NodeSeen

HEARTBEAT: Final = """
INSERT INTO conductor_jobs.node AS before
    (lease_name, node_id, host, role, priority, version, incarnation, state, fingerprint, first_seen_at, last_seen_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, statement_timestamp(), statement_timestamp())
ON CONFLICT (lease_name, node_id) DO UPDATE SET
    host = excluded.host, role = excluded.role, priority = excluded.priority, version = excluded.version,
    incarnation = excluded.incarnation, state = excluded.state, fingerprint = excluded.fingerprint,
    last_seen_at = excluded.last_seen_at,
    first_seen_at = CASE before.incarnation WHEN excluded.incarnation
        THEN least(before.first_seen_at, excluded.first_seen_at) ELSE excluded.first_seen_at END
"""
NODES: Final = """
SELECT node_id, host, role, priority, version, incarnation, state,
       extract(epoch FROM first_seen_at)::float8, extract(epoch FROM last_seen_at)::float8, fingerprint
FROM conductor_jobs.node WHERE lease_name = %s ORDER BY node_id COLLATE "C"
"""


def node_seen(*row: Any) -> NodeSeen:
    """Return what a row of `NODES` says."""
    return NodeSeen(Node(*row[:5]), *row[5:])
