"""What a PostgreSQL database keeps for the lease store: the schema `conductor_jobs`, made by the first who comes.

The rules of a lease record are those of `conductor_jobs.records`, written in the database's own language, so that one
statement, which is one transaction, does it all. Each function first takes a lock that belongs to the name of the
lease and to the transaction. What it reads after that, the clock included, is read under the lock: in READ COMMITTED
every statement of a function has a snapshot of its own, whereas one statement that waits for a row's lock in its middle
judges by the clock, and by the other tables, as they were before it waited.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection, IsolationLevel, errors

from ..errors import Unusable
from . import postgres_runner_schema as runners
from .postgres_connections import Line

T = TypeVar("T")

SCHEMA_VERSION: Final = 2

_TABLES: Final = """
CREATE TABLE conductor_jobs.schema_version (version integer PRIMARY KEY);

CREATE TABLE conductor_jobs.lease (
    name text PRIMARY KEY,
    node_id text NOT NULL,
    incarnation text NOT NULL,
    term bigint NOT NULL CHECK (term > 0),
    ttl double precision NOT NULL CHECK (ttl > 0 AND ttl < 'infinity'),
    expires_at timestamptz NOT NULL CHECK (isfinite(expires_at)),
    released boolean NOT NULL,
    server_started timestamptz NOT NULL,
    given_up bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE conductor_jobs.released (
    name text, node_id text, incarnation text,
    PRIMARY KEY (name, node_id, incarnation)
);

CREATE TABLE conductor_jobs.node (
    lease_name text, node_id text, host text NOT NULL, role text NOT NULL, priority bigint NOT NULL,
    version text NOT NULL, incarnation text NOT NULL, state text NOT NULL,
    fingerprint text NOT NULL, first_seen_at timestamptz NOT NULL, last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (lease_name, node_id)
);
"""

_BEGIN: Final = """
CREATE FUNCTION conductor_jobs.begin_call(patience_ms integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the lease store needs default_transaction_isolation = ''read committed'', not ''%''',
            current_setting('transaction_isolation') USING ERRCODE = 'feature_not_supported';
    END IF;
    PERFORM set_config('lock_timeout', patience_ms::text, true);
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END $$;
"""

# The seed of the hash, "cjob" (and the number after it), sets our locks apart from those of others.
#
# Expiry is counted on the wall clock of one server process. Another one, after a restart or a failover, may have
# another clock, and may have lost the last renewal: a lease that it finds gets its whole ttl again. The same goes
# for one that lies further ahead than a whole ttl, because the clock was set back.
_READ: Final = """
CREATE FUNCTION conductor_jobs.read_locked(
    asked_name text, patience_ms integer, OUT lease conductor_jobs.lease, OUT clock timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM conductor_jobs.begin_call(patience_ms);
    PERFORM pg_advisory_xact_lock(hashtextextended(asked_name, 1667919714));
    SELECT * INTO lease FROM conductor_jobs.lease l WHERE l.name = asked_name;
    clock := clock_timestamp();
    IF NOT lease.released AND (
        lease.server_started <> pg_postmaster_start_time()
        OR lease.expires_at > clock + make_interval(secs => lease.ttl)
    ) THEN
        UPDATE conductor_jobs.lease l
        SET expires_at = clock + make_interval(secs => l.ttl), server_started = pg_postmaster_start_time()
        WHERE l.name = asked_name RETURNING * INTO STRICT lease;
    END IF;
END $$;
"""

# A campaign that its asker gave up long ago, and that arrives after all, must not supersede its later term. A new term,
# and a release, wait for the fenced writes that have begun (see `postgres_runner_schema`); a renewal does not.
_ACQUIRE: Final = """
CREATE FUNCTION conductor_jobs.acquire_v2(
    asked_name text, asker_node_id text, asker_incarnation text, asked_ttl double precision, asked_term numeric,
    asked_at bigint, asker_gave_up bigint, patience_ms integer,
    OUT granted boolean, OUT lease conductor_jobs.lease, OUT clock timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    before record;
    held boolean;
    ours boolean;
BEGIN
    SELECT * INTO before FROM conductor_jobs.read_locked(asked_name, patience_ms);
    lease := before.lease;
    clock := before.clock;
    held := coalesce(NOT lease.released AND clock < lease.expires_at, false);
    ours := coalesce((lease.node_id, lease.incarnation) = (asker_node_id, asker_incarnation), false);
    IF EXISTS (
        SELECT FROM conductor_jobs.released r
        WHERE (r.name, r.node_id, r.incarnation) = (asked_name, asker_node_id, asker_incarnation)
    ) THEN
        granted := false;
    ELSIF asked_term IS NULL THEN
        granted := NOT held OR (ours AND asked_at > lease.given_up);
    ELSE
        granted := held AND ours AND asked_term = lease.term;
    END IF;
    IF granted THEN
        IF asked_term IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtextextended(asked_name, 1667919715));
            clock := clock_timestamp();
        END IF;
        INSERT INTO conductor_jobs.lease AS l VALUES (
            asked_name, asker_node_id, asker_incarnation, coalesce(asked_term, lease.term + 1, 1), asked_ttl,
            clock + make_interval(secs => asked_ttl), false, pg_postmaster_start_time(), asker_gave_up
        )
        ON CONFLICT (name) DO UPDATE SET
            node_id = excluded.node_id, incarnation = excluded.incarnation, term = excluded.term, ttl = excluded.ttl,
            expires_at = excluded.expires_at, released = false, server_started = excluded.server_started,
            given_up = excluded.given_up
        RETURNING * INTO STRICT lease;
        IF asked_term IS NULL THEN
            NOTIFY conductor_jobs_lease;
        END IF;
    END IF;
END $$;
"""

_RELEASE: Final = """
CREATE FUNCTION conductor_jobs.release_v2(
    asked_name text, asker_node_id text, asker_incarnation text, patience_ms integer, OUT freed boolean
) LANGUAGE plpgsql AS $$
DECLARE
    before record;
BEGIN
    SELECT * INTO before FROM conductor_jobs.read_locked(asked_name, patience_ms);
    PERFORM pg_advisory_xact_lock(hashtextextended(asked_name, 1667919715));
    INSERT INTO conductor_jobs.released VALUES (asked_name, asker_node_id, asker_incarnation) ON CONFLICT DO NOTHING;
    UPDATE conductor_jobs.lease l SET released = true
    WHERE (l.name, l.node_id, l.incarnation) = (asked_name, asker_node_id, asker_incarnation) AND NOT l.released;
    freed := FOUND AND before.clock < (before.lease).expires_at;
    IF FOUND THEN
        NOTIFY conductor_jobs_lease;
    END IF;
END $$;
"""

_CREATE: Final = _TABLES + runners.TABLES + _BEGIN + _READ + _ACQUIRE + _RELEASE + runners.FUNCTIONS
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('conductor_jobs', 1667919714))"
_WHAT_IS_THERE: Final = """
SELECT to_regnamespace('conductor_jobs') IS NOT NULL, to_regclass('conductor_jobs.schema_version') IS NOT NULL,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('conductor_jobs'))
"""
_HOPELESS: Final = (
    errors.ProgrammingError,
    errors.DataError,
    errors.IntegrityError,
    errors.NotSupportedError,
    errors.ProgramLimitExceeded,
)


def with_schema(line: Line, work: Callable[[Line], T]) -> T:
    """Do the work, and if there is no schema for it, make that first.

    Raises Unusable, having touched nothing, for a schema that is not ours, or newer: whoever changes the functions or
    tables in a later version gives them other names, so that this one finds nothing to work with.
    """
    try:
        return work(line)
    except (errors.UndefinedFunction, errors.UndefinedTable, errors.InvalidSchemaName):
        _make(line.database)
        return work(line)


def _make(connection: Connection[Any]) -> None:
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    with connection.transaction():
        connection.execute(_LOCK)
        _create(connection)


def _create(connection: Connection[Any]) -> None:
    found = connection.execute(_WHAT_IS_THERE).fetchone()
    assert found is not None
    schema_exists, is_ours, has_tables = found
    if is_ours:  # made by another node, for whose lock we have waited
        _require_known(connection.execute("SELECT version FROM conductor_jobs.schema_version").fetchone())
        return
    if has_tables:
        raise Unusable(
            "the schema conductor_jobs of the database belongs to another application: it has tables or views, but no "
            "schema_version; the lease store needs a schema, or a database, of its own."
        )
    if not schema_exists:
        connection.execute("CREATE SCHEMA conductor_jobs")
    connection.execute(_CREATE)
    connection.execute("INSERT INTO conductor_jobs.schema_version VALUES (%s)", (SCHEMA_VERSION,))


def _require_known(row: tuple[Any, ...] | None) -> None:
    version = None if row is None else row[0]
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise Unusable(
            f"the schema conductor_jobs of the database has version {version}, and this conductor-jobs knows "
            f"{SCHEMA_VERSION}: it was made by {'a newer' if newer else 'another'} one."
        )


def problem(error: psycopg.Error) -> str | None:
    """Return what the database complains of if only a person can mend it: its schema, our rights in it, a name."""
    return (error.diag.message_primary or str(error)) if isinstance(error, _HOPELESS) else None
