"""Who has a journal file: its lock goes with the writer, not with a descriptor that somebody inherited (I16)."""

import os
from pathlib import Path

from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_files import JournalFiles

DAY = "2026-04-01"


def test_a_child_that_inherited_the_file_does_not_keep_it_from_the_next_writer(tmp_path: Path) -> None:
    first = JournalFiles(tmp_path, "alpha", "f00")
    first.open(DAY)
    inherited = os.dup(first._file)
    try:
        first.close()
        second = JournalFiles(tmp_path, "alpha", "f01")
        second.open(DAY)
        second.add(JournalEntry("b-1", None, None, None, "r", "s", f"{DAY}T00:00:00.000Z"))
        second.close()
    finally:
        os.close(inherited)
    assert [file.name for file in tmp_path.iterdir()] == [f"{DAY}.jsonl"]
