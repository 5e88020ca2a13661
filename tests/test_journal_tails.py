"""Following journals: what is new in files that grow, appear, are replaced and go away."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs.journal import FRAMEWORK, JournalEntry
from conductor_jobs.journal_folders import BadJournal
from conductor_jobs.journal_format import decode_line, encode_line
from conductor_jobs.journal_reader import JournalReader, SkippedLine
from conductor_jobs.journal_tails import JournalTails


def line(stage: str, second: float = 0.0, day: str = "2026-04-01", node: str | None = None) -> bytes:
    runner, details = ("r", {}) if node is None else (FRAMEWORK, {"node_id": node})
    return encode_line(JournalEntry("b-1", None, None, None, runner, stage, f"{day}T00:00:{second:06.3f}Z", details))


class Folder:
    """A folder of journals, and who follows it."""

    def __init__(self, *places: Path, since_date: str = "") -> None:
        self.places = places
        self.skipped: list[SkippedLine] = []
        self.tails = JournalTails(places, self.skipped.append, since_date)

    def append(self, text: bytes, name: str = "2026-04-01.jsonl") -> Path:
        file = self.places[0] / name
        with file.open("ab") as end:
            end.write(text)
        return file

    def new(self) -> list[str]:
        return [entry.facts.stage for entry in self.tails.new_lines()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_each_line_is_told_once(folder: Folder) -> None:
    assert folder.new() == []
    folder.append(line("a") + line("b", 1))
    assert folder.new() == ["a", "b"]
    assert folder.new() == []
    folder.append(line("c", 2))
    assert folder.new() == ["c"]


def test_a_last_line_is_waited_for_until_it_is_whole(folder: Folder) -> None:
    whole = line("a")
    for cut in (1, 40, len(whole) - 2):
        folder.append(whole[:cut])
        assert folder.new() == []
        folder.append(whole[cut:])
        assert folder.new() == ["a"]
    assert folder.skipped == []


def test_a_whole_line_that_lacks_its_newline_is_told_once(folder: Folder) -> None:
    folder.append(line("a")[:-1])
    assert [entry.text for entry in folder.tails.new_lines()] == [line("a")]
    folder.append(b"\n" + line("b", 1))
    assert folder.new() == ["b"]
    folder.append(b"rubbish\n")
    assert folder.new() == []
    assert [(each.line_number, each.torn) for each in folder.skipped] == [(3, False)]


def test_a_torn_line_is_skipped_once_the_next_writer_has_begun_behind_it(folder: Folder) -> None:
    file = folder.append(line("a") + line("torn")[:30])
    assert folder.new() == ["a"]
    assert folder.skipped == []
    folder.append(b"\n" + line("b", 1))
    assert folder.new() == ["b"]
    assert [(each.file, each.line_number, each.torn) for each in folder.skipped] == [(file, 2, False)]


def test_a_torn_last_line_is_owned_up_to_at_the_end(folder: Folder) -> None:
    file = folder.append(line("a") + line("torn")[:30])
    assert folder.new() == ["a"]
    folder.tails.finish()
    assert [(each.file, each.line_number, each.torn) for each in folder.skipped] == [(file, 2, True)]


def test_several_writers_are_told_in_the_order_of_time(folder: Folder) -> None:
    folder.append(line("a1", 1) + line("a3", 3))
    assert not folder.tails.several_writers
    folder.append(line("b2", 2) + line("b4", 4), "2026-04-01.beta-0123456789abcdef.jsonl")
    assert folder.new() == ["a1", "b2", "a3", "b4"]
    assert folder.tails.several_writers
    folder.append(line("a6", 6))
    folder.append(line("b5", 5), "2026-04-01.beta-0123456789abcdef.jsonl")
    assert folder.new() == ["b5", "a6"]


def test_files_of_a_new_day_and_of_new_writers_are_found(folder: Folder) -> None:
    folder.append(line("a"))
    assert folder.new() == ["a"]
    folder.append(line("last", 59))
    folder.append(line("first", day="2026-04-02"), "2026-04-02.jsonl")
    assert folder.new() == ["last", "first"]
    # The writer of the day before is not finished yet.
    folder.append(line("later", 59.5))
    folder.append(line("b", 1, day="2026-04-02"), "2026-04-02.beta-0123456789abcdef.jsonl")
    assert folder.new() == ["later", "b"]
    # An old name that is new: of a clock that was set back.
    folder.append(line("old", day="2026-03-01"), "2026-03-01.jsonl")
    assert folder.new() == ["old"]


def test_a_line_knows_who_wrote_it(folder: Folder) -> None:
    folder.append(line("early") + line("started", 1, node="alpha") + line("a", 2))
    folder.append(line("continued", 1, node="beta") + line("b", 3), "2026-04-01.beta-0123456789abcdef.jsonl")
    folder.append(line("started", 4, node="gamma") + line("c", 5))
    found = {entry.facts.stage: entry.node_id for entry in folder.tails.new_lines()}
    assert (found["early"], found["a"], found["b"], found["c"]) == (None, "alpha", "beta", "gamma")


def test_a_folder_may_come_and_go(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "later" / "logs")
    assert folder.new() == []
    folder.places[0].mkdir(parents=True)
    assert folder.new() == []
    file = folder.append(line("a"))
    assert folder.new() == ["a"]
    file.unlink()
    assert folder.new() == []
    folder.places[0].rmdir()
    assert folder.new() == []
    folder.places[0].mkdir()
    folder.append(line("b"))
    assert folder.new() == ["b"]


def test_a_file_that_is_replaced_or_cut_is_told_from_its_beginning(folder: Folder) -> None:
    file = folder.append(line("a") + line("b", 1))
    assert folder.new() == ["a", "b"]
    other = folder.places[0] / "new"
    other.write_bytes(line("c") + line("d", 1) + line("e", 2))
    other.replace(file)
    assert folder.new() == ["c", "d", "e"]
    file.write_bytes(line("f"))
    assert folder.new() == ["f"]


def test_what_is_reached_by_two_ways_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    folder = Folder(tmp_path, tmp_path / "link", tmp_path / "2026-04-01.jsonl")
    folder.append(line("a"))
    assert folder.new() == ["a"]
    folder.append(line("b", 1))
    assert folder.new() == ["b"]


def test_files_of_days_before_are_passed_over_and_other_names_never_are(tmp_path: Path) -> None:
    folder = Folder(tmp_path, since_date="2026-04-02")
    for name in ("2026-04-01.jsonl", "2026-04-02.jsonl", "2026-04-03.jsonl", "mine.jsonl"):
        folder.append(line(name), name)
    (tmp_path / "notes.txt").write_bytes(line("no"))
    (tmp_path / "2026-04-02.folder.jsonl").mkdir()
    assert sorted(folder.new()) == ["2026-04-02.jsonl", "2026-04-03.jsonl", "mine.jsonl"]
    folder.append(line("more", 1), "mine.jsonl")
    assert folder.new() == ["more"]


LINES = st.lists(
    st.one_of(
        st.builds(line, st.sampled_from("abc"), st.floats(0, 59), node=st.sampled_from([None, "alpha", "é"])),
        st.sampled_from([b"\n", b"rubbish\n", b"\xff\n", line("torn")[:30] + b"\n", line("torn")[:-2] + b"\n"]),
    ),
    max_size=12,
)


@given(LINES, st.lists(st.integers(0, 2000), max_size=20), st.binary(max_size=3))
def test_however_a_file_grows_its_entries_are_those_of_the_whole(
    lines: list[bytes], cuts: list[int], rest: bytes
) -> None:
    text = b"".join(lines) + b"{" + rest.replace(b"\n", b"")
    with TemporaryDirectory() as name:
        file = Path(name) / "2026-04-01.jsonl"
        skipped: list[SkippedLine] = []
        tails = JournalTails([Path(name)], skipped.append)
        told: list[bytes] = []
        written = 0
        for cut in [*sorted(cuts), len(text)]:
            with file.open("ab") as end:
                end.write(text[written:cut])
            written = max(written, min(cut, len(text)))
            told += [entry.text for entry in tails.new_lines()]
        tails.finish()
        whole = JournalReader(file)
        assert [decode_line(each) for each in told] == list(whole)
        assert [(each.line_number, each.torn) for each in skipped] == [
            (each.line_number, each.torn) for each in whole.skipped
        ]


def test_a_file_that_cannot_be_read_is_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder.append(line("a"))

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(BadJournal, match=r"2026-04-01\.jsonl': Permission denied"):
        folder.new()
