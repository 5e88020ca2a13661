"""Journals that change while they are read: their writer is in the middle of a line, and retention deletes files."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conductor_jobs import cli, read_journal
from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_format import decode_facts, decode_line, encode_line
from conductor_jobs.journal_reader import SkippedLine, read_lines
from conductor_jobs.journal_tails import JournalTails
from conductor_jobs.run_history import RunHistory

from .journals import DAY, NEXT_DAY, write_history

FIRST = encode_line(JournalEntry("b-1", 10, None, "ok", "r", "runner_completed", "2026-04-01T00:00:00.000Z"))
SECOND = encode_line(JournalEntry("b-2", 20, None, "ok", "r", "runner_completed", "2026-04-01T00:00:01.000Z"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_history(folder)
    return folder


def half_written(folder: Path) -> tuple[Path, Callable[[bytes], None]]:
    """Return a file whose second line is half there, and what writes the rest once somebody has read that half."""
    file = folder / "2026-04-01.jsonl"
    file.write_bytes(FIRST + SECOND[:60])

    def go_on(line: bytes) -> None:
        if line == SECOND[:60] and file.read_bytes() == FIRST + line:
            with file.open("ab") as end:
                end.write(SECOND[60:])

    return file, go_on


@pytest.mark.parametrize("decode", [decode_line, decode_facts])
def test_a_line_that_is_being_written_is_cut_off_and_its_rest_is_no_line(
    tmp_path: Path, decode: Callable[[bytes], Any]
) -> None:
    file, go_on = half_written(tmp_path)

    def decode_and_go_on(line: bytes) -> Any:
        go_on(line)
        return decode(line)

    skipped: list[SkippedLine] = []
    assert [number for number, _ in read_lines(file, decode_and_go_on, skipped.append)] == [1]
    assert [(each.line_number, each.torn) for each in skipped] == [(2, True)]
    assert [number for number, _ in read_lines(file, decode, skipped.append)] == [1, 2]


def test_of_a_line_that_is_being_written_a_history_skips_one(tmp_path: Path) -> None:
    file, go_on = half_written(tmp_path)
    skipped: list[SkippedLine] = []

    def skip(line: SkippedLine) -> None:
        go_on(SECOND[:60])
        skipped.append(line)

    history = RunHistory([file], "", frozenset())
    history.read(skip, lambda _: None)
    assert [(each.line_number, each.torn) for each in skipped] == [(2, True)]
    assert history.runners[0].runs == 1


class Deleted:
    """Deletes a file just before it is looked at for the n-th time, as retention in another process may."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = file
        self.looks_left = 0
        for name in ("open", "stat"):
            monkeypatch.setattr(Path, name, self._counted(getattr(Path, name)))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == self.file:
                self.looks_left -= 1
                if self.looks_left == 0:
                    os.unlink(path)
            return method(path, *arguments, **options)

        return look


@pytest.mark.parametrize("command", [["verify"], ["history"], ["logs"], ["logs", "--json"]], ids=" ".join)
@pytest.mark.parametrize("name", [f"{DAY}.jsonl", f"{NEXT_DAY}.jsonl"])
def test_a_file_that_is_deleted_while_a_folder_is_read_is_no_error(
    command: list[str],
    name: str,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deleted = Deleted(tmp_path / "logs" / name, monkeypatch)
    endings = list[tuple[int, bool, str]]()
    for look in range(1, 20):
        deleted.looks_left = 0
        logs = shutil.copytree(written, tmp_path / "logs")
        deleted.looks_left = look
        code = cli.main([*command, str(logs)])
        endings.append((code, deleted.file.exists(), capsys.readouterr().err))
        shutil.rmtree(logs)
    assert (0, True, "") in endings, "there are more looks than were tried"
    assert (0, False, "") in endings
    assert set(endings) == {(0, True, ""), (0, False, "")}


def test_a_file_that_is_deleted_while_its_folder_is_read_back_has_no_entries(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        (tmp_path / f"2026-04-0{day}.jsonl").write_bytes(FIRST.replace(b"04-01", b"04-0%d" % day))
    entries = iter(read_journal(tmp_path))
    days = [next(entries).ts[:10]]
    (tmp_path / "2026-04-02.jsonl").unlink()
    assert days + [entry.ts[:10] for entry in entries] == ["2026-04-01", "2026-04-03"]


def test_a_folder_that_is_taken_away_while_it_is_looked_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir
    folder = tmp_path / "logs"
    tails = JournalTails([folder], msgspec.json.encode)

    def scandir_of_what_is_gone(path: Path) -> Iterator[os.DirEntry[str]]:
        folder.rmdir()
        return scandir(path)

    folder.mkdir()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "scandir", scandir_of_what_is_gone)
        assert list(tails.new_lines()) == []
    folder.mkdir()
    (folder / "2026-04-01.jsonl").write_bytes(FIRST)
    assert [line.text for line in tails.new_lines()] == [FIRST]
