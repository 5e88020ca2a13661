"""What is done to which node, and for how long: a sequence that the seed alone decides."""

import random
from typing import Literal, final

import msgspec

Kind = Literal["kill", "restart", "freeze", "hiccup", "drain"]
KINDS: tuple[Kind, ...] = ("kill", "restart", "freeze", "hiccup", "drain")
# Seconds until the node is healed, in ttls. A drain takes as long as it takes.
_LASTS: dict[Kind, tuple[float, float]] = {
    "kill": (0.2, 2.0),
    "restart": (0.0, 0.0),
    "freeze": (1.1, 2.0),
    "hiccup": (0.05, 0.8),
    "drain": (0.0, 0.0),
}
_PAUSE = (0.1, 0.9)
_AT_THE_LEADER = 0.6


@final
class Fault(msgspec.Struct, frozen=True):
    """One blow: `kill` (-9, started anew after `seconds`), `restart` (the same at once), `drain` (SIGTERM).

    `freeze` and `hiccup` stop the process for so many seconds: for longer than the ttl, and for less. `node` counts
    from 0; None is whoever leads at that moment.
    """

    kind: Kind
    node: int | None
    seconds: float


@final
class Round(msgspec.Struct, frozen=True):
    """After `pause` seconds, one fault, or two on two nodes at once."""

    pause: float
    faults: tuple[Fault, ...]


def plan(seed: int, rounds: int, nodes: int, ttl: float) -> list[Round]:
    """Return the rounds. Like a deck of cards: of every six each kind is one, and one is two at once."""
    chance = random.Random(seed)
    planned: list[Round] = []
    while len(planned) < rounds:
        deck: list[tuple[Kind, ...]] = [*((kind,) for kind in KINDS), (chance.choice(KINDS), chance.choice(KINDS))]
        chance.shuffle(deck)
        for kinds in deck:
            faults = tuple(_fault(chance, kind, nodes, ttl) for kind in kinds)
            planned.append(Round(chance.uniform(*_PAUSE), faults))
    return planned[:rounds]


def plan_for_leaders(seed: int, times: int, ttl: float) -> list[Round]:
    """Return rounds in which the leader is killed, and told to stop, so many times each, by turns."""
    chance = random.Random(seed)
    blows: list[Kind] = ["kill", "drain"] * times
    return [
        Round(ttl * chance.uniform(*_PAUSE), (Fault(kind, None, ttl * chance.uniform(*_LASTS[kind])),))
        for kind in blows
    ]


def _fault(chance: random.Random, kind: Kind, nodes: int, ttl: float) -> Fault:
    node = None if chance.random() < _AT_THE_LEADER else chance.randrange(nodes)
    return Fault(kind, node, ttl * chance.uniform(*_LASTS[kind]))
