"""`conductor-jobs verify`: which files it judges, what it says, how it ends; no damage is taken for a fault."""

import json
import os
import pty
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs.verify import BadJournal, verify

from .journals import DAY, NEXT_DAY, START, Scribe, Site, on_virtual_time, read, write, write_history
from .support import make_jobs, noop
from .test_journal_files import BECOME_NOBODY

MIDNIGHT = START + 62


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_history(folder)
    return folder


@pytest.fixture
def logs(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "logs"))


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", "verify", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=60)


def break_a_rule(logs: Path) -> str:
    """Take out the end of a run; return where that shows."""
    journals = read(logs)
    lines = journals[f"{DAY}.jsonl"]
    place = next(place for place, line in enumerate(lines) if line["stage"] == "runner_completed")
    del lines[place]
    write(logs, journals)
    return f"{DAY}.jsonl:{place + 1}"


def test_a_person_is_told_who_led_who_wrote_and_that_nothing_is_wrong(logs: Path) -> None:
    done = run(logs.parent, "logs")
    assert (done.returncode, done.stderr) == (0, "")
    entries = [line for lines in read(logs).values() for line in lines]
    ticks, runs = (sum(line["stage"] == stage for line in entries) for stage in ("tick_started", "runner_started"))
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"{len(entries)} lines; 3 writers; {ticks} ticks; {runs} runs of runners; "
        "0 unreadable lines, 0 of them cut off; 0 entries lost."
    )
    (lease,) = [line for line in lines if line.startswith("conductor ")]
    assert lease.split()[1:5] == ["3", "1", "to", "3"]
    assert lease.endswith("alpha 2, beta 1")
    writers = [line.split() for line in lines if line.startswith(("alpha", "beta"))]
    assert sorted(writer[0] for writer in writers) == ["alpha", "alpha", "beta"]
    assert {writer[-1] for writer in writers} == {"stopped"}
    assert lines[-3:] == [
        "Not judged:",
        "  work of run_as_leader and run_while_leader, which leaves no lines",
        "No violation.",
    ]


def test_a_violation_is_told_with_its_place_and_rule_and_ends_with_1(logs: Path) -> None:
    where = break_a_rule(logs)
    done = run(logs.parent, "logs")
    assert done.returncode == 1
    *_, head, finding = done.stdout.splitlines()
    assert head == "1 violation:"
    assert finding.startswith(
        f"  {where}: ends: slow starts, though quick of the same tick has not ended ({DAY}.jsonl:"
    )


def test_machines_are_told_the_same_as_one_json_object(logs: Path) -> None:
    where = break_a_rule(logs)
    done = run(logs.parent, "--json", "logs")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["violation_count"], told["violations"][0]["at"]) == (1, where)
    assert told["leases"][0]["holders"] == {"alpha": 2, "beta": 1}
    assert told["line_count"] == sum(map(len, read(logs).values()))
    assert [writer["ended"] for writer in told["writers"]] == ["stopped"] * 3
    assert (told["unjudged"], told["cautions"]) == ([], [])


def test_folders_of_several_nodes_are_one_history(logs: Path, tmp_path: Path) -> None:
    apart = tmp_path / "betas"
    apart.mkdir()
    for file in list(logs.glob("*.beta-*")):
        file.rename(apart / f"{file.name[:10]}.jsonl")
    report = verify([logs, apart])
    assert (report.violations, report.writer_count, report.leases[0].term_count) == ([], 3, 3)
    assert report.leases[0].holders == {"alpha": 2, "beta": 1}
    # Which folder a line stands in is said where names alone do not tell.
    files = sorted(apart.iterdir())
    lines = files[1].read_bytes().splitlines(keepends=True)
    files[1].write_bytes(b"".join(line for line in lines if b"leader_started" not in line))
    (first, *_) = verify([logs, apart]).violations
    assert first.at.startswith(f"{apart}/{NEXT_DAY}.jsonl:")


def test_paths_may_be_texts_and_what_is_none_is_refused_by_name(logs: Path) -> None:
    assert verify([str(logs)]) == verify([logs])
    not_paths: list[Any] = [None, 5, [], [None], str(logs), logs]
    for paths in not_paths:
        with pytest.raises(TypeError, match=r"^verify paths must be a list of one path or more, not "):
            verify(paths)
    for skew in (-1, 0.5, True):
        with pytest.raises(ValueError, match=f"verify max_clock_skew_ms must be a non-negative integer, not {skew}"):
            verify([logs], skew)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_file_that_is_met_twice_is_read_once_and_a_copy_is_refused(logs: Path, tmp_path: Path) -> None:
    file = logs / f"{DAY}.jsonl"
    (tmp_path / "link").symlink_to(logs)
    once = verify([logs])
    assert verify([logs, logs, file, tmp_path / "link"]) == once
    shutil.copy(file, tmp_path / "copy.jsonl")
    with pytest.raises(BadJournal, match=r"begins like .* give each journal once"):
        verify([logs, tmp_path / "copy.jsonl"])
    done = run(tmp_path, "logs", "copy.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"conductor-jobs: 'logs/{DAY}.jsonl' begins like 'copy.jsonl': give each journal once\n" or (
        done.stderr == f"conductor-jobs: 'copy.jsonl' begins like 'logs/{DAY}.jsonl': give each journal once\n"
    )


def test_files_that_begin_with_the_same_rubbish_are_no_copies(logs: Path) -> None:
    once = verify([logs])
    for file in logs.iterdir():
        file.write_bytes(b"\0\0\0\n" + file.read_bytes())
    assert verify([logs]).run_count == once.run_count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "no journal at 'gone': there is no such folder or file"),
        (["empty"], "no journal at 'empty': the folder has no *.jsonl"),
        (["nothing"], "no journal at 'nothing': no line is an entry (0 lines are unreadable)"),
        (["others"], "no journal at 'others': no line is an entry (2 lines are unreadable)"),
        (["unsigned"], "nothing to judge at 'unsigned': no line says who wrote the 1 entries"),
        (["logs", "gone"], "no journal at 'gone': there is no such folder or file"),
        (["--max-clock-skew-ms", "-1", "logs"], "must be a non-negative integer, not '-1'."),
        (["--max-clock-skew-ms", "1s", "logs"], "must be a non-negative integer, not '1s'."),
        ([], "Missing argument 'DIR...'."),
    ],
)
def test_bad_input_is_named_and_ends_with_2(logs: Path, arguments: list[str], message: str) -> None:
    for name in ("empty", "nothing", "others", "unsigned"):
        (logs.parent / name).mkdir()
    (logs.parent / "nothing/a.jsonl").touch()
    (logs.parent / "others/a.jsonl").write_text('{"level":"info","ts":1}\n{"level":"info","ts":2}\n')
    seed = {"batch_id": "b", "duration_ms": 1, "error": None, "result": "ok", "runner": "r", "stage": "s", "ts": "t"}
    (logs.parent / "unsigned/a.jsonl").write_text(json.dumps(seed) + "\n")
    done = run(logs.parent, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def test_what_may_not_be_read_is_named(logs: Path) -> None:
    file = logs / f"{DAY}.jsonl"
    for path in (file, logs):
        path.chmod(0o000)
        script = f"from conductor_jobs.cli import main\n{BECOME_NOBODY}main(['verify', {str(path)!r}])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        path.chmod(0o755)
        assert done.stderr == f"conductor-jobs: no journal at {str(path)!r}: Permission denied\n"


def test_a_skew_between_hosts_is_granted_and_its_lack_is_a_caution(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = []
    alpha, beta = Scribe(lines, "alpha", host="mini"), Scribe(lines, "beta", host="maxi")
    alpha.begin()
    beta.begin()
    alpha.lead(100, 2)
    beta.lead(150, 1)
    write(tmp_path, {"alpha.jsonl": lines[::2], "beta.jsonl": lines[1::2]})
    done = run(tmp_path, ".")
    assert done.returncode == 1
    assert "Caution: Lines of several hosts (mini, maxi) were compared as if their clocks agreed" in done.stdout
    done = run(tmp_path, ".", "--max-clock-skew-ms", "50")
    assert done.returncode == 0
    assert "Caution" not in done.stdout


def test_only_a_terminal_gets_colours_and_no_text_of_a_journal_reaches_it_raw(logs: Path) -> None:
    journals = read(logs)
    journals[f"{DAY}.jsonl"][0]["host"] = "\x1b[2Jmini"
    write(logs, journals)
    assert "\x1b" not in run(logs.parent, "logs").stdout
    terminal, end = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "conductor_jobs", "verify", str(logs)], stdout=end) as process:
        os.close(end)
        shown = b""
        try:
            while read_now := os.read(terminal, 4096):
                shown += read_now
        except OSError:  # the other end was closed
            pass
    os.close(terminal)
    assert process.returncode == 0
    assert b"\x1b[32mNo violation.\x1b[0m" in shown
    assert b"\x1b[2J" not in shown
    assert b"\\x1b[2Jmini" in shown


def test_a_reader_that_goes_away_changes_no_verdict(logs: Path) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "verify", "logs"]
    with subprocess.Popen(command, cwd=logs.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_help_tells_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Usage: conductor-jobs verify [OPTIONS] DIR..." in shown
    assert "--max-clock-skew-ms <integer>" in shown


def test_a_journal_that_is_cut_anywhere_breaks_no_rule(written: Path, tmp_path: Path) -> None:
    lines = (written / f"{NEXT_DAY}.jsonl").read_bytes().splitlines(keepends=True)
    whole = b"".join(lines[next(place for place, line in enumerate(lines) if b'"started"' in line) :])
    cut = tmp_path / "cut.jsonl"
    first = whole.index(b"\n")
    ends = [place + by for place in range(len(whole)) if whole[place : place + 1] == b"\n" for by in (0, 1, 2)]
    # Around the end of each line, and at every fifth byte.
    for size in sorted({*range(first, len(whole), 5), *filter(range(first, len(whole)).__contains__, ends)}):
        cut.write_bytes(whole[:size])
        report = verify([cut])
        is_cut = whole[size - 1 : size] != b"\n" and whole[size : size + 1] != b"\n"
        assert (report.violations, report.torn_line_count) == ([], int(is_cut)), size


@pytest.mark.parametrize("rubbish", [b"\0\0\0\0", b"{", b'{"runner":"\xff"}', b"[]"], ids=repr)
@pytest.mark.parametrize("count", [1, 3])
def test_lines_that_became_unreadable_break_no_rule_and_are_counted(
    written: Path, tmp_path: Path, rubbish: bytes, count: int
) -> None:
    files = {file.name: file.read_bytes().splitlines() for file in written.iterdir()}
    for name, lines in files.items():
        for place in range(0, len(lines), count):
            garbled = lines[:place] + [rubbish] * len(lines[place : place + count]) + lines[place + count :]
            for other, its_lines in files.items():
                content = garbled if other == name else its_lines
                (tmp_path / other).write_bytes(b"".join(line + b"\n" for line in content))
            report = verify([tmp_path])
            assert report.violations == [], (name, place)
            assert report.unreadable_line_count == len(lines[place : place + count])


def test_what_could_not_be_judged_for_an_unreadable_line_is_said(logs: Path) -> None:
    file = logs / f"{DAY}.jsonl"
    lines = file.read_bytes().splitlines()
    ended = next(place for place, line in enumerate(lines) if b'"runner_completed"' in line)
    lines[ended] = b"{"
    file.write_bytes(b"\n".join(lines))
    told = run(logs.parent, "logs").stdout
    assert "1 unreadable line, 0 of them cut off" in told
    unknown = f"{DAY}.jsonl:{ended + 1} cannot be read and may have said whose the lines after it are"
    assert f" lines of a writer, since {unknown}\n" in told


def test_after_a_kill_the_next_writer_begins_behind_the_torn_line(tmp_path: Path) -> None:
    write_history(tmp_path)
    file = tmp_path / f"{NEXT_DAY}.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    start = next(place for place, line in enumerate(lines) if b'"runner_started"' in line)
    again = next(place for place, line in enumerate(lines) if b'"started"' in line)
    file.write_bytes(b"".join(lines[: start + 1]) + lines[start + 1][:40] + b"\n" + b"".join(lines[again:]))
    report = verify([tmp_path])
    assert (report.violations, report.unjudged) == ([], [])
    assert (report.unreadable_line_count, report.torn_line_count) == (1, 1)
    assert "not stopped, in runner" in str(report.writers)


def test_a_wall_clock_that_is_set_back_over_midnight_breaks_no_rule_and_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        site, stepped = Site(tmp_path, MIDNIGHT - 16), list[bool]()

        async def steps_back(_: object) -> None:
            await trio.sleep(1)
            if not stepped and site.wall_clock() > MIDNIGHT + 10:
                stepped.append(True)
                site.wall_clock.step(-30)
            await trio.sleep(1)

        conductor, _ = site.node("alpha", make_jobs(steps_back, noop, interval=5.0))
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await trio.sleep(120)
            await conductor.stop()

    on_virtual_time(main)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [f"{DAY}.jsonl", f"{NEXT_DAY}.jsonl"]
    days = {name: [line["stage"] for line in lines] for name, lines in read(tmp_path).items()}
    assert days[f"{DAY}.jsonl"].count("continued") >= 1
    report = verify([tmp_path])
    assert report.violations == []
    assert any("the order of its lines is not known" in sentence for sentence in report.unjudged)
    assert any("the wall clock went back by up to" in caution for caution in report.cautions)


def test_a_full_disk_breaks_no_rule_and_its_losses_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    room = [0]
    os_write = os.write

    def full_at_times(file: int, data: bytes) -> int:
        if len(data) > room[0] > -1:
            written = os_write(file, data[: room[0]]) if room[0] else 0
            room[0] = rng.choice([0, 0, 50, 300, 2000])
            if not written:
                raise OSError(28, "No space left on device")
            return written
        room[0] -= len(data)
        return os_write(file, data)

    for seed in range(20):
        folder = tmp_path / f"{seed}"
        rng.seed(seed)
        room[0] = 3000
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full_at_times)
            write_history(folder)
        report = verify([folder])
        assert report.violations == [], seed
        assert report.lost_entry_count > 0


def test_more_files_than_can_be_open_at_once_are_one_history(written: Path, logs: Path) -> None:
    for number in range(300):
        lines: list[dict[str, object]] = []
        restarted = Scribe(lines, "gamma", f"{number}")
        restarted.begin(number)
        restarted.tick(number + 1, "b")
        write(logs, {f"{DAY}.gamma-{number}.jsonl": lines})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        report = verify([logs])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (report.violations, report.writer_count, len(report.writers)) == ([], 303, 200)
    assert "(the latest 200 of 303 writers)" in run(logs.parent, "logs").stdout


def test_of_a_conductor_without_leader_or_runners_there_is_nothing_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        site = Site(tmp_path)
        alpha, store = site.node("alpha")
        store.error = OSError("down")
        async with trio.open_nursery() as nursery:
            await nursery.start(alpha.run)
            await trio.sleep(60)
            await alpha.stop()

    on_virtual_time(main)
    report = verify([tmp_path])
    assert (report.violations, report.unjudged, report.leases) == ([], [], [])
