"""The command `python -m tests.torture`: exit code 1 says that a violation was found."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import trio

from conductor_jobs import LeaseTiming
from conductor_jobs.errors import Unusable
from conductor_jobs.stores import open_store
from conductor_jobs.stores.urls import shown_url
from conductor_jobs.violations import Violation

from ..real_servers.every import STORES, started
from .broken import BROKEN
from .due_kills import DueKills
from .evidence import Folder, Setup
from .faults import plan, plan_for_leaders
from .figures import HEADING, figures
from .ledger import runs
from .ledger import summary as summary_of_runs
from .torture import Torture, around, summary

_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture, and print what was done, what it took, and every violation."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.folder is not None and options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"argument --folder: must be empty, and {str(options.folder)!r} is not")
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as scratch, ExitStack() as stack:
        url = options.store
        if options.server is not None:
            server_folder = Path(scratch) / "server"
            server_folder.mkdir()
            url = stack.enter_context(started(options.server, server_folder))
        # A server may have been tortured before: under a name of its own each torture begins with term 1.
        lease_name = f"torture-{uuid4().hex}"
        setup = Setup(options.seed, options.nodes, options.ttl, options.broken, url, lease_name)
        folder = Folder(options.folder or Path(scratch) / "evidence")
        if options.due_kills is not None:
            return _kill_at_due(setup, folder, options.due_kills)
        rounds = plan(setup.seed, options.rounds, setup.nodes, setup.ttl)
        if options.leaders is not None:
            rounds = plan_for_leaders(setup.seed, options.leaders, setup.ttl)
        torture = Torture(setup, folder)
        where = shown_url(url or folder.own_store)
        print(f"seed {setup.seed}: {len(rounds)} rounds, {setup.nodes} nodes, ttl {setup.ttl:g} s, {where}", flush=True)
        began = time.monotonic()
        violations = trio.run(torture.run, rounds, _progress)
        for line in summary(torture):
            print(line)
        print(f"{time.monotonic() - began:.0f} s, {len(violations)} violations\n\n{HEADING}")
        for figure in figures(folder):
            print(figure)
        _report(setup, folder, violations)
    return 1 if violations else 0


def _kill_at_due(setup: Setup, folder: Folder, kills: int) -> int:
    print(f"seed {setup.seed}: {kills} kills at due instants, {setup.nodes} nodes, ttl {setup.ttl:g} s", flush=True)
    began = time.monotonic()
    violations = trio.run(DueKills(setup, folder).run, kills, _progress)
    for line in summary_of_runs(runs(folder.ledger)):
        print(line)
    print(f"{time.monotonic() - began:.0f} s, {len(violations)} violations")
    for violation in violations:
        print(f"  {violation}")
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=_at_least(1), default=20, help="20 by default, which take about a minute")
    parser.add_argument("--nodes", type=_at_least(2), default=3, help="processes that share the lease; 3 by default")
    parser.add_argument("--ttl", type=_ttl, default=1.0, help="seconds; 1.0 by default")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="decides the faults")
    parser.add_argument(
        "--leaders", type=_at_least(1), metavar="N", help="in place of rounds of all kinds: kill and stop the leader"
    )
    parser.add_argument(
        "--due-kills",
        type=_at_least(1),
        metavar="N",
        help="in place of rounds: kill the leader N times at a due second",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--store", type=_store, metavar="URL", help="by default a SQLite file in the folder")
    place.add_argument("--server", choices=STORES, help="a store with a server of its own, see tests/real_servers")
    parser.add_argument("--folder", type=Path, help="keeps the evidence; otherwise none is kept")
    parser.add_argument("--broken", choices=sorted(BROKEN), help="torture an engine that must be found out")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, not {text!r}")
        return int(text)

    return read


def _ttl(text: str) -> float:
    try:
        return LeaseTiming(float(text)).ttl
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _store(text: str) -> str:
    try:
        open_store(text)
    except (ValueError, Unusable) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _progress(number: int) -> None:
    if number % 10 == 0:
        print(f"round {number}", file=sys.stderr, flush=True)


def _report(setup: Setup, folder: Folder, violations: Sequence[Violation]) -> None:
    for violation in violations[:_SHOWN]:
        print(f"\nseed {setup.seed}: {violation}")
        for line in around(folder, violation):
            print(f"  {line}")
    if len(violations) > _SHOWN:
        print(f"\nand {len(violations) - _SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
