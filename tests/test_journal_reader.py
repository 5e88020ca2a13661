"""Reading journals back: what is whole is told, what is not is accounted for (I16)."""

from pathlib import Path

import pytest

from conductor_jobs import read_journal
from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_format import encode_line


def line(stage: str, second: float = 0.0, day: str = "2026-04-01") -> bytes:
    return encode_line(JournalEntry("b-1", None, None, None, "r", stage, f"{day}T00:00:{second:06.3f}Z"))


def stages(path: Path) -> list[str]:
    return [entry.stage for entry in read_journal(path)]


def test_every_entry_of_a_file_is_told_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    entries = [JournalEntry("b-1", n, None, "ok", "r", "s", "2026-04-01T00:00:00.000Z", {"n": n}) for n in range(3)]
    file.write_bytes(b"".join(map(encode_line, entries)))
    journal = read_journal(str(file))
    assert list(journal) == entries
    assert journal.skipped == []


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_is_skipped_and_reported_as_torn(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(line("a") + line("b") + line("torn")[:cut])
    journal = read_journal(file)
    assert [entry.stage for entry in journal] == ["a", "b"]
    (skipped,) = journal.skipped
    assert (skipped.file, skipped.line_number, skipped.torn) == (file, 3, True)
    assert skipped.reason


def test_a_last_line_that_lacks_nothing_but_its_newline_is_an_entry(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(line("a") + line("b")[:-1])
    journal = read_journal(file)
    assert [entry.stage for entry in journal] == ["a", "b"]
    assert journal.skipped == []


@pytest.mark.parametrize(
    "rubbish",
    [
        b"no json\n",
        b"\0" * 4096 + b"\n",
        b'{"batch_id":"b","runner":"\xff\xfe"}\n',
        line("x").replace(b'"r"', b'"\xc3("'),
        line("torn and mended")[:30] + b"\n",
        b" \n",
        line("x").replace(b'"stage":', b'"staged":'),
        line("x")[:-2] + b',"deep":' + b"[" * 50_000 + b"\n",
    ],
    ids=["text", "NULs", "no UTF-8", "broken UTF-8", "torn", "blank", "key missing", "deep"],
)
def test_a_line_that_is_no_entry_is_reported_with_its_number_and_costs_no_other(tmp_path: Path, rubbish: bytes) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(line("a") + rubbish + line("b") + rubbish + line("c"))
    journal = read_journal(file)
    assert [entry.stage for entry in journal] == ["a", "b", "c"]
    assert [(each.line_number, each.torn) for each in journal.skipped] == [(2, False), (4, False)]


def test_an_empty_line_is_where_a_torn_one_was_mended_and_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(b"\n" + line("a") + b"\n\n" + line("b"))
    journal = read_journal(file)
    assert [entry.stage for entry in journal] == ["a", "b"]
    assert journal.skipped == []


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").touch()
    assert stages(tmp_path / "j.jsonl") == []
    assert stages(tmp_path) == []


def test_a_folder_is_told_in_the_order_of_time_over_days_and_writers(tmp_path: Path) -> None:
    (tmp_path / "2026-04-02.jsonl").write_bytes(line("g", 1, "2026-04-02"))
    (tmp_path / "2026-04-01.beta-b00.jsonl").write_bytes(line("b", 2) + line("d", 4) + line("e", 5))
    (tmp_path / "2026-04-01.jsonl").write_bytes(line("a", 1) + line("c", 3) + line("f", 6))
    (tmp_path / "2026-04-01.log").write_bytes(line("no journal", 0))
    assert stages(tmp_path) == ["a", "b", "c", "d", "e", "f", "g"]


def test_entries_of_one_file_keep_their_order_when_the_wall_clock_went_back(tmp_path: Path) -> None:
    (tmp_path / "2026-04-01.jsonl").write_bytes(line("a", 10) + line("b", 5) + line("c", 11))
    assert stages(tmp_path) == ["a", "b", "c"]


def test_the_skipped_lines_of_a_folder_name_their_files(tmp_path: Path) -> None:
    first, second = tmp_path / "2026-04-01.jsonl", tmp_path / "2026-04-01.beta-b00.jsonl"
    first.write_bytes(line("a") + b"{")
    second.write_bytes(b"x\n" + line("b"))
    journal = read_journal(tmp_path)
    assert {entry.stage for entry in journal} == {"a", "b"}
    assert {(each.file, each.line_number, each.torn) for each in journal.skipped} == {
        (first, 2, True),
        (second, 1, False),
    }


def test_a_journal_may_be_read_again_and_then_tells_what_was_written_since(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(line("a") + b"{\n")
    journal = read_journal(file)
    assert [entry.stage for entry in journal] == ["a"]
    with file.open("ab") as more:
        more.write(line("b"))
    assert [entry.stage for entry in journal] == ["a", "b"]
    assert len(journal.skipped) == 1


def test_where_there_is_nothing_the_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_journal(tmp_path / "gone")
    assert str(caught.value) == f"no journal at {str(tmp_path / 'gone')!r}"
