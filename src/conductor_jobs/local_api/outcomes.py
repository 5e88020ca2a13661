"""What is answered to commands and probes, and to whoever is refused."""

from typing import final

import msgspec

from ..tick_results import TickResult


@final
class Problem(msgspec.Struct, frozen=True):
    """What is wrong: a word for programs and a sentence for people."""

    error: str
    message: str


@final
class Health(msgspec.Struct, frozen=True):
    """All is well."""

    ok: bool = True


@final
class Done(msgspec.Struct, frozen=True):
    """It was done."""

    ok: bool = True


@final
class RunAnswer(msgspec.Struct, frozen=True):
    """What became of a tick that was asked for; `tick` is None when it was still at work after `wait` seconds."""

    ended: bool
    tick: TickResult | None


@final
class TickRefused(msgspec.Struct, frozen=True):
    """The tick did not come about, or did not succeed: `error` is its decision."""

    error: str
    message: str
    tick: TickResult
