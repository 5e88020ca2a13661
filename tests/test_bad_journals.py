"""Journal files that were cut, garbled or written by someone else: what is whole is read, the rest accounted for (I16).

And a writer that begins in such a file: it truncates nothing, and all that it writes comes back.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from conductor_jobs import JournalEntry, read_journal
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.journal_format import encode_line

from .strategies import TS, entries, fewer

DAY = TS[:10]
STARTED = JournalEntry("b-1", None, None, "loop_enabled", "timed-jobs.framework", "started", TS, {"node_id": "n"})

lines = entries.map(encode_line)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=9), inside, max_size=3),
    max_leaves=6,
)
#: JSON of other programs, of other versions of this one, and what looks like an entry but for one key.
other_json = st.one_of(
    json_values,
    st.builds(
        lambda line, key, value: {**json.loads(line), key: value},
        lines,
        st.sampled_from(["duration_ms", "runner", "ts"]),
        st.sampled_from([[], {}, True]),
    ),
    st.builds(
        lambda line, key: {k: v for k, v in json.loads(line).items() if k != key},
        lines,
        st.sampled_from(JournalEntry.__struct_fields__[:7]),
    ),
).map(lambda value: json.dumps(value).encode())
#: A line, without its newline, that is certainly no entry.
rubbish = st.one_of(
    other_json,
    st.builds(lambda line, cut: line[: 1 + cut % (len(line) - 2)], lines, st.integers(0, 10_000)),
    st.integers(1, 5000).map(lambda count: b"\0" * count),
    st.integers(100_000, 2_000_000).map(lambda count: b"x" * count),
    st.integers(400, 100_000).map(lambda depth: b'{"a":' + b"[" * depth),
    st.integers(5000, 20_000).map(lambda digits: encode_line(STARTED)[:-2] + b',"n":' + b"9" * digits + b"}"),
    st.builds(lambda line: line[:-2] + b',"x":"\xff\xfe"}', lines),
    st.binary(min_size=1, max_size=60).map(lambda blob: b"!" + blob.replace(b"\n", b"")),
    st.just(b"\xef\xbb\xbf" + encode_line(STARTED)[:-1]),
    st.just(b" "),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Make the content of a journal, and then do to it what disks, editors and two writers do."""
    content = bytearray(b"".join(draw(st.lists(lines, max_size=6))))
    for _ in range(draw(st.integers(0, 4))):
        place, length = draw(st.integers(0, len(content))), draw(st.integers(0, 80))
        match draw(st.sampled_from(["cut", "drop", "zero", "put", "repeat", "newline"])):
            case "cut":
                del content[place:]
            case "drop":
                del content[place : place + length]
            case "zero":
                content[place : place + length] = bytes(length)
            case "put":
                content[place:place] = draw(st.binary(max_size=20))
            case "repeat":
                content[place:place] = content[place : place + length]
            case _:
                content[place:place] = b"\n"
    return bytes(content)


@contextmanager
def journal_of(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{DAY}.jsonl"
        file.write_bytes(content)
        yield file


def write(folder: Path, own: list[JournalEntry]) -> int:
    files = JournalFiles(folder, "mini-main", "0123")
    files.open(DAY)
    for entry in own:
        files.add(entry)
        files.flush()
    files.close()
    return files.entries_lost


def split(content: bytes) -> list[bytes]:
    """Return the lines as the reader counts them: what stands before each newline, and what stands after the last."""
    *whole, last = content.split(b"\n")
    return [*whole, last] if last else whole


@given(st.lists(st.one_of(lines.map(lambda line: line[:-1]), rubbish), max_size=8), st.booleans())
def test_whole_lines_among_rubbish_are_read_and_each_piece_of_rubbish_is_accounted_for(
    pieces: list[bytes], ends: bool
) -> None:
    good = [piece for piece in pieces if piece.startswith(b'{"batch_id"') and is_entry(piece)]
    with journal_of(b"\n".join(pieces) + (b"\n" if ends else b"")) as file:
        journal = read_journal(file)
        assert [encode_line(entry)[:-1] for entry in journal] == good
        bad = [number for number, piece in enumerate(pieces, 1) if piece not in good]
        assert [skipped.line_number for skipped in journal.skipped] == bad
        assert all(skipped.reason and skipped.file == file for skipped in journal.skipped)
        torn = [skipped.line_number for skipped in journal.skipped if skipped.torn]
        assert torn == ([len(pieces)] if not ends and bad[-1:] == [len(pieces)] else [])


def is_entry(piece: bytes) -> bool:
    """Judge by another reader of JSON than the one that is tested."""
    try:
        value = json.loads(piece)
    except ValueError:
        return False
    texts = ("batch_id", "runner", "stage", "ts")
    return (
        isinstance(value, dict)
        and value.keys() >= set(JournalEntry.__struct_fields__[:7])
        and all(isinstance(value[key], str) for key in texts)
        and all(isinstance(value[key], str | None) for key in ("error", "result"))
        and type(value["duration_ms"]) in (int, float, type(None))
    )


@given(st.one_of(damaged(), st.binary(max_size=200)))
@example(b"\n\n\r\n")
@example(encode_line(STARTED)[:-1])
@example(encode_line(STARTED).replace(b'"stage"', b'"st\\u0061ge"'))
@example(encode_line(STARTED)[:-2] + b',"stage":"twice"}\n')
def test_of_any_bytes_every_line_is_read_or_skipped_or_empty(content: bytes) -> None:
    with journal_of(content) as file:
        journal = read_journal(file)
        read = list(journal)
        empty = sum(1 for line in split(content) if not line)
        assert len(read) + len(journal.skipped) + empty == len(split(content))
        # A second reading tells the same, and counts anew.
        before = list(journal.skipped)
        assert list(journal) == read
        assert journal.skipped == before


@fewer(by=2)
@given(st.one_of(damaged(), st.binary(max_size=200)), st.lists(entries, min_size=1, max_size=4), st.booleans())
@example(b"", [STARTED], False)
@example(b"\0", [STARTED], True)
@example(encode_line(STARTED)[:-1], [STARTED], False)
def test_a_writer_that_begins_in_any_file_truncates_nothing_and_all_it_writes_comes_back(
    content: bytes, own: list[JournalEntry], owned: bool
) -> None:
    own = [STARTED, *own] if owned else own
    with journal_of(content) as file:
        before = list(read_journal(file))
        skipped = len(read_journal_skipped(file))
        assert write(file.parent, own) == 0
        assert file.read_bytes().startswith(content)
        assert file.read_bytes().endswith(b"\n")
        journal = read_journal(file)
        assert list(journal) == before + own
        # What was torn is skipped as it was before; the writer adds nothing to be skipped.
        assert len(journal.skipped) == skipped
        assert not any(each.torn for each in journal.skipped)


def read_journal_skipped(file: Path) -> list[object]:
    journal = read_journal(file)
    list(journal)
    return [*journal.skipped]


@fewer(by=4)
@given(st.lists(damaged(), min_size=1, max_size=3), st.lists(entries, min_size=1, max_size=3))
def test_two_writers_in_a_folder_of_damaged_files_keep_their_lines_apart(
    contents: list[bytes], own: list[JournalEntry]
) -> None:
    with journal_of(contents[0]) as file:
        for number, content in enumerate(contents[1:]):
            (file.parent / f"{DAY}.other-{number}.jsonl").write_bytes(content)
        of_file, of_folder = list(read_journal(file)), list(read_journal(file.parent))
        first, second = (JournalFiles(file.parent, "mini main", incarnation) for incarnation in ("1", "2"))
        for files in (first, second):
            files.open(DAY)
        for entry in own:
            for files in (first, second):
                files.add(entry)
                files.flush()
        for files in (first, second):
            files.close()
        assert list(read_journal(file)) == of_file + own
        assert list(read_journal(file.parent / f"{DAY}.mini_main-2.jsonl")) == own
        assert len(list(read_journal(file.parent))) == len(of_folder) + 2 * len(own)
