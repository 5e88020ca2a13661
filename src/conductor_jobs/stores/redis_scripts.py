"""What is kept in Redis, and the Lua scripts that decide there: each runs alone, so each is one transaction.

Of a lease NAME there are, all in one hash slot:

    conductor-jobs:{NAME}:lease     a hash: who holds it, which term, until when; never deleted, no ttl
    conductor-jobs:{NAME}:barred    a set of the incarnations that were released, as JSON [node id, incarnation]
    conductor-jobs:{NAME}:nodes     a hash of the nodes by id: unix seconds of the first heartbeat of its
                                    incarnation and of the last one, then JSON
    conductor-jobs:{NAME}:claims    a hash of the latest claims by runner, each as JSON
    conductor-jobs:{NAME}:paused    a set of the runners that are paused
    conductor-jobs:{NAME}:cursors   a hash of the cursors by runner
    conductor-jobs:{NAME}:changes   a channel: a term, and `begun` or `released`

The hash carries the version of all this, `schema`, and not the keys: two versions that do not know of each other's
keys would both lead.

Expiry is a moment by the server's clock in the hash, not a ttl of a key: a server that runs full may drop keys with a
ttl first (maxmemory-policy volatile-*), which would end a lease early. Two expiries are not believed, and taken for
now + ttl: one that lies further ahead than that, since the server's clock has gone back; and one that another process
of the server set, before a restart or a failover, since its last renewals may be lost and its clock was another.

Numbers in Lua are doubles, exact up to 2**53: microseconds of this epoch are below that. Terms are not, and stay texts;
due instants are of any year, and are compared by seconds and by the rest.
"""

import hashlib
from typing import Final, final, get_args

from ..lease import TERM_LIMIT
from ..runner_records import ClaimResult
from .stored_claims import FIRST_DUE, LAST_DUE

SCHEMA: Final = 2
PREFIX: Final = "conductor-jobs:"


@final
class Script:
    """A Lua script and the name the server knows it by."""

    def __init__(self, source: str) -> None:
        self.source: bytes = source.encode()
        self.sha: str = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


def key(lease_name: str, what: str) -> str:
    """Return the key of one kind of data of a lease, or its channel."""
    return f"{PREFIX}{{{lease_name}}}:{what}"


# What every script begins with that asks for the lease's record, which is the first of KEYS. Where it is not ours they
# answer `foreign`, then the field and its value.
_RECORD = f"""
local lease = KEYS[1]
local last_term = '{TERM_LIMIT - 1}'

local function is_greater(term, other) return #term > #other or #term == #other and term > other end

local fields = {{'schema', 'node_id', 'incarnation', 'term', 'ttl_us', 'expires_at_us', 'server', 'released'}}
local values = redis.call('HMGET', lease, unpack(fields))
local record = {{}}
for i, field in ipairs(fields) do record[field] = values[i] end
local known = redis.call('EXISTS', lease) == 1

if known then
    local number = '^[1-9]%d*$'
    local form = {{schema = '^{SCHEMA}$', term = number, ttl_us = number, expires_at_us = number, released = '^[01]$'}}
    for _, field in ipairs(fields) do
        if not record[field] or not string.match(record[field], form[field] or '') then
            return {{'foreign', field, record[field] or ''}}
        end
    end
    if is_greater(record.term, last_term) then return {{'foreign', 'term', record.term}} end
end
"""

# What acquire and release begin with. KEYS: lease, barred. ARGV: node id, incarnation, both as JSON, channel, ...
# Both answer: verdict, now, and the record (nothing more where there is none).
_LEASE = (
    _RECORD
    + """
local barred = KEYS[2]
local node_id, incarnation, me, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local is_barred = redis.call('SISMEMBER', barred, me) == 1

-- Which process of a server this is; nothing for a user who may not ask.
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''

if known then
    local stamped_by_another = server ~= '' and record.server ~= server
    if stamped_by_another or record.expires_at_us - now > tonumber(record.ttl_us) then
        record.expires_at_us = string.format('%.0f', now + record.ttl_us)
        redis.call('HSET', lease, 'expires_at_us', record.expires_at_us, 'server', server)
    end
end

local mine = record.node_id == node_id and record.incarnation == incarnation
local held = known and record.released == '0' and now < tonumber(record.expires_at_us)

local function answer(verdict)
    local kept = known and redis.call('HMGET', lease, unpack(fields)) or {}
    return {verdict, string.format('%.0f', now), unpack(kept)}
end

-- A user who may not publish, or a server without pub/sub, still has a lease: the channel only saves time.
local function publish(what)
    redis.pcall('PUBLISH', channel, redis.call('HGET', lease, 'term') .. ' ' .. what)
end
"""
)

# ARGV further: ttl in microseconds, the term to renew or nothing for a campaign.
ACQUIRE: Final = Script(
    _LEASE
    + f"""
local ttl_us, term = ARGV[5], ARGV[6]
local granted
if term == '' then granted = not held or mine else granted = held and mine and record.term == term end
if is_barred or not granted then return answer('refused') end

if term == '' then
    if record.term == last_term then return {{'foreign', 'term', record.term}} end
    redis.call('HINCRBY', lease, 'term', 1)
    redis.call('HSET', lease, 'schema', {SCHEMA}, 'node_id', node_id, 'incarnation', incarnation, 'released', 0)
end
redis.call('HSET', lease, 'ttl_us', ttl_us, 'expires_at_us', string.format('%.0f', now + ttl_us), 'server', server)
if term == '' then publish('begun') end
known = true
return answer('granted')
"""
)

RELEASE: Final = Script(
    _LEASE
    + """
redis.call('SADD', barred, me)
if known and mine and record.released == '0' then
    redis.call('HSET', lease, 'released', 1)
    publish('released')
end
return answer(mine and held and 'granted' or 'refused')
"""
)

# KEYS: nodes. ARGV: node id, incarnation, all that is known of the node as JSON, where the incarnation is the fifth.
HEARTBEAT: Final = Script(
    """
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local since = now

local first_seen_at, json = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+%.%d+) %S+ (.*)$')
local is_ours, described = pcall(cjson.decode, json or '')
if is_ours and type(described) == 'table' and described[5] == ARGV[2] and tonumber(first_seen_at) < tonumber(now) then
    since = first_seen_at
end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. now .. ' ' .. ARGV[3])
"""
)

# What a fenced write begins with. KEYS: lease, what is written. ARGV: term, ...
# They answer `stale` and the record, if there is one, or `kept` and what there is to tell.
_FENCED = (
    _RECORD
    + """
if not known or record.term ~= ARGV[1] or record.released == '1' then
    return {'stale', unpack(known and values or {})}
end
"""
)

# ARGV further: by turns a runner and its claim. Answers for each of them 1 if it was kept, else 0, as one text; or
# `foreign claim`, the runner and what is kept of it. Decides as `runner_records.supersedes` does, and writes only then.
CLAIM: Final = Script(
    _FENCED
    + f"""
local results = {{null = true}}
for result in string.gmatch('{" ".join(get_args(ClaimResult))}', '%a+') do results['"' .. result .. '"'] = true end

local function parts(microseconds)
    local sign, digits = string.match(microseconds, '(-?)(%d+)')
    digits = string.rep('0', 7 - #digits) .. digits
    return tonumber(sign .. string.sub(digits, 1, -7)), tonumber(sign .. string.sub(digits, -6))
end

local function difference(due, other)
    local seconds, rest = parts(due)
    local other_seconds, other_rest = parts(other)
    return seconds == other_seconds and rest - other_rest or seconds - other_seconds
end

local function taken_apart(claim)
    return string.match(claim, '^{{"due_at_us":(-?%d+),"term":([1-9]%d*),"result":(.+)}}$')
end

local function is_ours(kept)
    local due, term, result = taken_apart(kept)
    return due and difference(due, '{FIRST_DUE}') >= 0 and difference(due, '{LAST_DUE}') <= 0
        and not is_greater(term, last_term) and results[result]
end

local function supersedes(claim, kept)
    local due, term = taken_apart(claim)
    local kept_due, kept_term, kept_result = taken_apart(kept)
    local later = difference(due, kept_due)
    if later ~= 0 then return later > 0 end
    return claim == kept or kept_result == 'null' and not is_greater(kept_term, term)
end

local claims, verdicts = KEYS[2], {{}}
for i = 2, #ARGV, 2 do
    local kept = redis.call('HGET', claims, ARGV[i])
    if kept and not is_ours(kept) then return {{'foreign claim', ARGV[i], kept}} end
    verdicts[#verdicts + 1] = (not kept or supersedes(ARGV[i + 1], kept)) and '1' or '0'
end
for i, verdict in ipairs(verdicts) do
    if verdict == '1' then redis.call('HSET', claims, ARGV[2 * i], ARGV[2 * i + 1]) end
end
return {{'kept', table.concat(verdicts)}}
"""
)

# ARGV further: runner, cursor.
SAVE_CURSOR: Final = Script(
    _FENCED
    + """
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return {'kept'}
"""
)
