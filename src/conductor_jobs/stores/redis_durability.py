"""Whether a server keeps what it was told: a lease that it forgets is given twice, and so is its term."""

from typing import final

import msgspec

from .redis_connections import Connection, ServerRefused


@final
class Durability(msgspec.Struct, frozen=True):
    """What speaks against a server, in clauses.

    `losses`: a restart or a full memory loses leases. `crash_losses`: a crash of the machine does, or a kill while the
    disk is slow.
    """

    losses: tuple[str, ...]
    crash_losses: tuple[str, ...]


async def durability(connection: Connection) -> Durability:
    """Ask the server; what it will not tell speaks against it. Raises ConnectionError."""
    try:
        losses = _losses(await connection.ask(b"INFO"))
    except ServerRefused as error:
        losses = [f"appendonly and maxmemory-policy could not be checked ({error})"]
    try:
        crash_losses = _crash_losses(await connection.ask(b"CONFIG GET", "appendfsync"))
    except ServerRefused as error:
        crash_losses = [f"appendfsync could not be checked ({error})"]
    return Durability(tuple(losses), tuple(crash_losses))


def _losses(info: object) -> list[str]:
    lines = _text(info).splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    losses = []
    if facts.get("aof_enabled") != "1":
        losses.append("appendonly is no: a restart loses leases and terms")
    policy = facts.get("maxmemory_policy", "unknown")
    # Keys without a ttl, as ours are, survive the volatile-* policies.
    if policy != "noeviction" and not policy.startswith("volatile-"):
        losses.append(f"maxmemory-policy is {policy}: a full memory loses leases and terms")
    return losses


def _crash_losses(settings: object) -> list[str]:
    mode = _text(settings.get(b"appendfsync")) if isinstance(settings, dict) else "unknown"
    return [] if mode == "always" else [f"appendfsync is {mode}: a crash of the machine loses the last writes"]


def _text(answer: object) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else "unknown"
