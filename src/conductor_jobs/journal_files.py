"""The journal on disk: one file per UTC day and writer, whole lines or none, and losses that are owned up to."""

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path
from typing import final

import msgspec
import trio

from .journal import FRAMEWORK, JournalEntry, complain
from .journal_folders import in_folder
from .journal_format import encode_line

# Written at once at the most: a larger write would hold up the loop for milliseconds.
WRITE_LIMIT = 64 * 1024


@final
class JournalFiles:
    """Writes `<date>.jsonl` in a folder, or, while another writer holds that file, one that is named for us.

    A line is whole or absent (I16): a writer that finds a torn last line begins on a new one and truncates
    nothing. A write that fails is reported once on stderr, the entries lost with it are counted, and a
    `journal_lost` entry says how many once writing works again (I18). A line that lacks but its newline counts as
    lost, though a reader will take it.
    """

    def __init__(self, folder: Path, node_id: str, incarnation: str) -> None:
        self._folder = folder
        self._own_name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', node_id)[:64]}-{incarnation}"
        self._file = -1
        self._date = ""
        self._started_entry: JournalEntry | None = None
        self._buffer = bytearray()
        self._torn = False
        self._unreported = 0
        self._reported: set[str] = set()
        # Whether this file has a line that says whose it is, and whether the buffer holds one.
        self._file_names_us = False
        self._buffer_names_us = False
        self._sync_limiter = trio.CapacityLimiter(1)
        # Of the latest line.
        self._batch_id = ""
        self._ts = ""
        self.entries_lost: int = 0
        self.bytes_written: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self._folder

    def open(self, date: str) -> None:
        """Make the folder and open the file of `date`, `YYYY-MM-DD`, so that a folder of no use is found out now.

        Raises Unusable when the folder cannot be written; a full disk is no reason, it may have room later.
        """
        in_folder(self._folder, lambda: self._open(date))

    def add(self, entry: JournalEntry) -> None:
        """Take an entry; never raises."""
        # First of all: the repr of a detail may log, and change everything below.
        line = encode_line(entry)
        self.add_lines(line, entry.batch_id, entry.ts)
        if entry.stage == "started" and entry.runner == FRAMEWORK:
            self._started_entry, self._buffer_names_us = entry, bool(self._buffer)

    def add_lines(self, lines: bytes, batch_id: str, ts: str) -> None:
        """Take entries that are lines already, all stamped `ts`; `batch_id` is that of the last. Never raises."""
        if ts[:10] != self._date:
            self.flush()
            self._close_file()
            self._date = ts[:10]
        self._buffer += lines
        self._batch_id, self._ts = batch_id, ts
        if len(self._buffer) >= WRITE_LIMIT:
            self.flush()

    def write_lines(self, lines: bytes, batch_id: str, ts: str) -> None:
        """Take entries as `add_lines` does, and write them with what was added; never raises."""
        # Within a millisecond it is one and the same text.
        same_day = ts is self._ts or ts[:10] == self._date
        if same_day and not self._buffer and self._file >= 0:
            self._batch_id, self._ts = batch_id, ts
            self._write(lines)
        else:
            self.add_lines(lines, batch_id, ts)
            self.flush()

    def flush(self) -> None:
        """Write what was added; never raises."""
        if not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        try:
            if self._file < 0:
                self._open(self._date)
        except OSError as error:
            self._lose(data.count(b"\n"), error)
        else:
            self._write(data)
        self._buffer_names_us = False

    async def sync(self) -> None:
        """Have the disk confirm what was written, in a thread; never raises.

        Cancelling stops the waiting: a thread that the disk holds up is left behind with a descriptor of its own.
        """
        file = self._file
        if file < 0:
            return
        try:
            # The day may change, and the file with it, while the thread is at it. Whoever takes the copy closes it.
            copies = [os.dup(file)]
            try:
                await trio.to_thread.run_sync(
                    _sync_and_close, copies, abandon_on_cancel=True, limiter=self._sync_limiter
                )
            finally:
                while copies:
                    os.close(copies.pop())
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            # A runner's thread may have closed it, for a day has begun, before there was a copy.
            if self._file == file:
                self._report("sync", f"not confirmed by the disk: {error}")
        else:
            self._reported.discard("sync")

    def close(self) -> None:
        """Write what was added, and give the file up."""
        self.flush()
        if self._unreported:
            complain(f"{self._folder}: {self._unreported} entries were lost")
        self._close_file()

    def _open(self, date: str) -> None:
        self._date = date
        for name in (f"{date}.jsonl", f"{date}.{self._own_name}.jsonl"):
            file = os.open(self._folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                size = _locked_size(file)
                self._torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            except BlockingIOError:
                os.close(file)
            except OSError:
                os.close(file)
                raise
            else:
                self._file = file
                self._file_names_us = False
                return
        raise OSError(errno.EAGAIN, f"another writer holds {name}")

    def _write(self, data: bytes | bytearray) -> None:
        owed = self._torn or self._unreported or not self._file_names_us
        preamble = self._preamble() if owed else b""
        whole = preamble + data if owed else data
        written = 0
        try:
            written = os.write(self._file, whole)
            while written < len(whole):
                written += os.write(self._file, whole[written:])
        except OSError as error:
            lost = data.count(b"\n") - self._whole_lines(len(preamble), whole[:written])
            self._lose(lost, error)
        else:
            if owed:
                self._torn, self._unreported, self._file_names_us = False, 0, True
                self._reported.discard("write")
        finally:
            self.bytes_written += written

    def _whole_lines(self, preamble: int, written: bytes | bytearray) -> int:
        # A full disk takes the first part of a write: lines that went in whole are not lost.
        if written:
            self._torn = not written.endswith(b"\n")
        if len(written) < preamble:
            return 0
        self._unreported = 0
        return written[preamble:].count(b"\n")

    def _preamble(self) -> bytes:
        lines = b"\n" if self._torn else b""
        # A file whose first lines are not our `started` opens with a `continued`, so that every line has an owner.
        if self._started_entry is not None and not self._file_names_us and not self._buffer_names_us:
            lines += encode_line(msgspec.structs.replace(self._started_entry, stage="continued", ts=self._ts))
        if self._unreported:
            details = {"lost_entry_count": self._unreported}
            lost = JournalEntry(self._batch_id, None, None, "lost", FRAMEWORK, "journal_lost", self._ts, details)
            lines += encode_line(lost)
        return lines

    def _lose(self, count: int, error: OSError) -> None:
        self._unreported += count
        self.entries_lost += count
        self._report("write", f"{error.strerror}; what is lost is counted and journaled once writing works")

    def _report(self, what: str, problem: str) -> None:
        # Once per fault: until it works again.
        if what not in self._reported:
            complain(f"{self._folder}: {problem}")
        self._reported.add(what)

    def _close_file(self) -> None:
        if self._file >= 0:
            # A forked child may share the descriptor, and with it the lock, for long.
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1


def _locked_size(file: int) -> int:
    """Lock a file, and return its size. Raises BlockingIOError when another writer holds it, or it is no more."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = os.fstat(file)
    if not status.st_nlink:
        raise BlockingIOError(errno.EAGAIN, "deleted, by another's retention, before it was locked")
    return status.st_size


def _sync_and_close(copies: list[int]) -> None:
    if not copies:
        return
    copy = copies.pop()
    try:
        os.fdatasync(copy)
    finally:
        os.close(copy)
