"""What a PostgreSQL database keeps of runners: tables and functions of the schema `conductor_jobs`.

A fenced write takes a lock that belongs to the name of the lease, another one than calls of the lease take first, and
shares it with its like: such writes do not wait for each other, and hold up no renewal (I6). Who begins a term, or
releases one, takes it alone. So no term begins or ends between the look at the lease and the end of the transaction.

A pause and a cursor have the number of their latest change, which a writer reads first and then says: what was given
up, and is carried out late, does not undo what came after it. (A claim needs none: its rules know what is late.)
"""

from typing import Final

TABLES: Final = """
CREATE TABLE conductor_jobs.claim (
    lease_name text, runner text,
    due_at bigint NOT NULL CHECK (due_at BETWEEN -62135596800000000 AND 253402300799999999),
    term bigint NOT NULL CHECK (term > 0),
    result text CHECK (result IN ('completed', 'failed', 'skipped', 'paused', 'registered', 'unknown')),
    PRIMARY KEY (lease_name, runner)
) WITH (fillfactor = 50);

CREATE TABLE conductor_jobs.paused (
    lease_name text, runner text, is_paused boolean NOT NULL, change bigint NOT NULL,
    PRIMARY KEY (lease_name, runner)
);

CREATE TABLE conductor_jobs.cursor (
    lease_name text, runner text, content text NOT NULL, change bigint NOT NULL,
    PRIMARY KEY (lease_name, runner)
) WITH (fillfactor = 50);
"""

_READ_FENCED: Final = """
CREATE FUNCTION conductor_jobs.read_fenced(asked_name text, patience_ms integer, OUT lease conductor_jobs.lease)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM conductor_jobs.begin_call(patience_ms);
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(asked_name, 1667919715));
    SELECT * INTO lease FROM conductor_jobs.lease l WHERE l.name = asked_name;
END $$;
"""

# The rule of `runner_records.supersedes`. In the order of names, so that two calls never wait for each other's rows.
_CLAIM: Final = """
CREATE FUNCTION conductor_jobs.claim(
    asked_name text, asked_term numeric, runners text[], due_ats bigint[], results text[], patience_ms integer,
    OUT lease conductor_jobs.lease, OUT taken text[]
) LANGUAGE plpgsql AS $$
BEGIN
    lease := conductor_jobs.read_fenced(asked_name, patience_ms);
    IF lease.term = asked_term AND NOT lease.released THEN
        WITH changed AS (
            INSERT INTO conductor_jobs.claim AS before
            SELECT asked_name, asked.runner, asked.due_at, asked_term, asked.result
            FROM unnest(runners, due_ats, results) AS asked (runner, due_at, result) ORDER BY asked.runner
            ON CONFLICT (lease_name, runner) DO UPDATE SET
                due_at = excluded.due_at, term = excluded.term, result = excluded.result
            WHERE excluded.due_at > before.due_at OR excluded.due_at = before.due_at AND (
                (excluded.term, excluded.result) IS NOT DISTINCT FROM (before.term, before.result)
                OR before.result IS NULL AND excluded.term >= before.term
            )
            RETURNING before.runner
        )
        SELECT coalesce(array_agg(changed.runner), '{}') INTO STRICT taken FROM changed;
    END IF;
END $$;
"""

_SET_PAUSED: Final = """
CREATE FUNCTION conductor_jobs.set_paused(
    asked_name text, asked_runner text, asked_paused boolean, seen bigint, patience_ms integer
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM conductor_jobs.begin_call(patience_ms);
    INSERT INTO conductor_jobs.paused AS before VALUES (asked_name, asked_runner, asked_paused, 1)
    ON CONFLICT (lease_name, runner) DO UPDATE SET is_paused = excluded.is_paused, change = before.change + 1
    WHERE before.change = seen;
    RETURN FOUND;
END $$;
"""

_SAVE_CURSOR: Final = """
CREATE FUNCTION conductor_jobs.save_cursor(
    asked_name text, asked_runner text, asked_term numeric, asked_cursor text, seen bigint, patience_ms integer,
    OUT lease conductor_jobs.lease, OUT saved boolean
) LANGUAGE plpgsql AS $$
BEGIN
    lease := conductor_jobs.read_fenced(asked_name, patience_ms);
    IF lease.term = asked_term AND NOT lease.released THEN
        INSERT INTO conductor_jobs.cursor AS before VALUES (asked_name, asked_runner, asked_cursor, 1)
        ON CONFLICT (lease_name, runner) DO UPDATE SET content = excluded.content, change = before.change + 1
        WHERE before.change = seen;
        saved := FOUND;
    END IF;
END $$;
"""

FUNCTIONS: Final = _READ_FENCED + _CLAIM + _SET_PAUSED + _SAVE_CURSOR
