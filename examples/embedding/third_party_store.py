"""A lease store of one's own: a JSON file in a folder under `flock`, for the processes of one machine."""

import fcntl
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from conductor_jobs import records
from conductor_jobs.clocks import boot_clock_domain, boot_time
from conductor_jobs.lease import Holder, LeaseGrant, Operation

T = TypeVar("T")


class Lease(msgspec.Struct):
    """A record, the boot by whose clock it expires, and the incarnations that may never have the lease again."""

    record: records.LeaseRecord | None = None
    boot: str = ""
    barred: list[Holder] = []


class JSONLeaseStore:
    """What a lease obeys is in `records`; this adds a clock, a lock, and a place for the record."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute()
        self._threads = trio.CapacityLimiter(2)  # its own: the application's threads never starve a renewal

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""

        def decide(lease: Lease, now: float) -> LeaseGrant:
            granted = records.acquire(lease.record, holder, ttl, term, now, barred=holder in lease.barred)
            lease.record, leads = granted or lease.record, granted is not None
            asked: Operation = "acquire" if term is None else "renew"
            return records.answer(lease.record, is_leader=leads, operation=asked, now=now, unix_now=time.time())

        return await self._transact(lease_name, decide)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""

        def decide(lease: Lease, now: float) -> bool:
            held = records.was_held(lease.record, holder, now)
            lease.record = records.release(lease.record, holder) or lease.record
            lease.barred += [holder] if holder not in lease.barred else []
            return held

        return await self._transact(lease_name, decide)

    async def _transact(self, lease_name: str, decide: Callable[[Lease, float], T]) -> T:
        call = partial(self._locked, lease_name, decide)
        while True:
            try:
                return await trio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)
            except BlockingIOError:  # another has the lock: waited for here, where cancelling is prompt
                await trio.sleep(random.uniform(0.005, 0.03))

    def _locked(self, lease_name: str, decide: Callable[[Lease, float], T]) -> T:
        self._folder.mkdir(exist_ok=True)
        folder, file = os.open(self._folder, os.O_RDONLY), self._folder / "leases.json"
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = file.read_bytes() if file.exists() else b"{}"
            leases = msgspec.json.decode(before, type=dict[str, Lease])
            lease, now, boot = leases.setdefault(lease_name, Lease()), boot_time(), boot_clock_domain()
            if lease.record is not None and lease.boot != boot:  # counted on a clock that is gone
                lease.record = records.restamped(lease.record, now)
            lease.boot = boot
            answer = decide(lease, now)
            if (after := msgspec.json.encode(leases)) != before:
                _replace(file, after)
                os.fsync(folder)
            return answer
        finally:
            fcntl.flock(folder, fcntl.LOCK_UN)  # closing is not enough if the process has forked meanwhile
            os.close(folder)


def _replace(file: Path, data: bytes) -> None:
    with file.with_suffix(".new").open("wb") as new:  # a kill leaves the old file or the new one, whole
        new.write(data)
        new.flush()
        os.fsync(new.fileno())
    file.with_suffix(".new").replace(file)
