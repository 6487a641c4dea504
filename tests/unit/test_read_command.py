"""`epm-inspector read` of many and large files: processes, summaries, and ends of every kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inspector.capture.pcap import read_records
from inspector.judge.policy import Policy
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.output.progress import Shares
from inspector.pipeline import Pipeline
from inspector.record import KernelCounter
from tests.bench.conversations import write_big_capture, write_capture

ROOT = Path(__file__).parents[2]
# What answers led to has its own tests; without it more can be read in the time of a test.
COMMAND = [sys.executable, "-m", "inspector", "read", "--no-follow-up"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return four captures of different lengths, small ones between large ones."""
    paths = [tmp_path / name for name in ("a.pcap", "b.pcapng", "c.pcap", "d.pcapng")]
    write_big_capture(paths[0], 6000)
    write_capture(paths[1], 3)
    write_big_capture(paths[2], 3000)
    write_capture(paths[3], 20)
    return paths


@pytest.mark.parametrize("options", [["--json"], [], ["--summary"], ["--summary", "--json"]])
def test_several_processes_show_what_one_does(files: list[Path], options: list[str]) -> None:
    """Standard output, standard error and status are the same, in the order of the files."""
    alone, together = (run(*options, "--fail-on", "mismatch", "--jobs", jobs, *files) for jobs in (1, 3))
    assert (together.stdout, together.stderr, together.returncode) == (alone.stdout, alone.stderr, 3)
    if options == ["--json"]:
        sources = [json.loads(line)["source"] for line in alone.stdout.splitlines()]
        assert sources == [
            str(path) for path, count in zip(files, (6000, 3, 3000, 20), strict=True) for _ in range(count)
        ]


def test_large_files_give_what_is_read_record_by_record(tmp_path: Path) -> None:
    """The lines of a file that is read in compiled code, byte for byte, and a pipe from it."""
    path = tmp_path / "large.pcap"
    write_big_capture(path, 6000)
    pipeline, lines = Pipeline(Policy(), lambda _: str(path)), io.StringIO()
    sink = JsonLines(StreamLines(lines))
    for record in read_records(path, ports={135}, counters=[0] * len(KernelCounter)):
        for batch in pipeline.feed([record]):
            sink.show(batch)
    done = run("--json", path)
    numbered = re.compile(r'"frame":(\d+),')
    frames = [int(one) for one in numbered.findall(done.stdout)]
    assert len(frames) == done.stdout.count("\n")
    assert frames == sorted(set(frames))
    assert numbered.sub("", done.stdout) == lines.getvalue()
    command = f"cat {path} | {sys.executable} -m inspector read --no-follow-up --json -"
    piped = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert piped.stdout == done.stdout.replace(str(path), "-")


@pytest.mark.parametrize(("switch", "least"), [("--no-follow-up", 40_000), ("--follow-up", 2000)])
def test_memory_is_flat(tmp_path: Path, switch: str, least: int) -> None:
    """Ten times the file needs the same memory, whatever is shown of it."""
    for option in ("--json", "--summary"):
        peaks = []
        for count in (least, 10 * least):
            path = tmp_path / "large.pcap"
            write_big_capture(path, count)
            with subprocess.Popen(
                [*COMMAND, switch, option, str(path)], stdout=subprocess.DEVNULL, cwd=ROOT
            ) as process:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = status
            assert status == 0
            peaks.append(usage.ru_maxrss)
        assert peaks[1] < peaks[0] + 16 * 1024, peaks


def test_summary_counts(files: list[Path]) -> None:
    """A table without rows for a person; for a program one object and nothing else."""
    table = run("--summary", *files)
    assert table.stdout.splitlines()[0] == "summary"
    done = run("--summary", "--json", *files)
    counts = json.loads(done.stdout)
    assert [one["answers"] for one in counts.pop("services")] == [{"mismatch": 9023}]
    assert len(counts.pop("ports_to_open")) == 1
    assert counts == {
        "packets_seen": 9023 * 8,
        "records_decoded": 9023 * 8,
        "findings": 9023,
        "verdicts": {"mismatch": 9023},
        "anomalies": {},
    }
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_cannot_be_read_is_one_line(files: list[Path], jobs: int) -> None:
    """The others are read; the status is 1, or 3 where what was asked for was found."""
    files[1].write_bytes(files[1].read_bytes()[:-30])
    files[2].write_bytes(b"Dear colleague,")
    done = run("--json", "--jobs", jobs, *files)
    sources = [json.loads(line)["source"] for line in done.stdout.splitlines()]
    assert sources == [str(files[0])] * 6000 + [str(files[1])] * 3 + [str(files[3])] * 20
    warning, error, summary, unread, *_ = done.stderr.splitlines()
    assert "warning" in warning
    assert str(files[1]) in warning
    assert error == f"epm-inspector: {files[2]}: is no capture file (pcap or pcapng)"
    assert (summary, unread.split()) == ("summary", ["files", "not", "read", "1"])
    assert done.returncode == 1
    assert run("--json", "--jobs", jobs, "--fail-on", "mismatch", *files).returncode == 3
    counts = json.loads(run("--json", "--summary", "--jobs", jobs, *files).stdout)
    assert (counts["findings"], counts["files_not_read"]) == (6023, 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_could_be_read(tmp_path: Path, jobs: int) -> None:
    """No summary of nothing; one line for each file."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"Dear colleague,")
    done = run("--jobs", jobs, tmp_path / "a", tmp_path / "b", tmp_path / "none")
    assert [line.partition(": ")[2].rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        "is no capture file (pcap or pcapng)",
        "is no capture file (pcap or pcapng)",
        "No such file or directory",
    ]
    assert (done.stdout, done.returncode) == ("", 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_found_before_damage_counts(files: list[Path], jobs: int) -> None:
    """The sums are those of the lines which were shown."""
    files[1].write_bytes(files[1].read_bytes() + b"\x06\0\0\0\xff\xff\xff\xff")
    done = run("--json", "--jobs", jobs, files[1], files[3])
    assert len(done.stdout.splitlines()) == 23
    assert re.search(r"findings +23\n", done.stderr)
    assert done.returncode == 1


def children_of(pid: int) -> list[int]:
    """Return the processes which read for another; that which multiprocessing itself starts is none of them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            reads = b"spawn_main" in (path / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == pid and reads:
            found.append(int(path.name))
    return found


def wait_for_children(pid: int, count: int) -> list[int]:
    """Wait until a process has so many children."""
    until = time.monotonic() + 20
    while len(children := children_of(pid)) < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return children


def gone(pids: list[int]) -> bool:
    """Wait until processes have ended; False where they do not."""
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def endless(tmp_path: Path) -> list[Path]:
    """Return two pipes that hold a capture's beginning, so that reading them does not end."""
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        os.mkfifo(path)
    return paths


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_leave_nothing_behind(endless: list[Path], number: signal.Signals) -> None:
    """However the command ends, the processes that read for it end too, without a word."""
    with subprocess.Popen(
        [*COMMAND, "--jobs", "2", *map(str, endless)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        children = wait_for_children(process.pid, 2)
        # A process that waits for a pipe to be opened is told nothing by a closed connection.
        writers = [path.open("wb", buffering=0) for path in endless]
        try:
            for writer in writers:
                writer.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
            if number is signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            if number is signal.SIGINT:
                assert process.wait(20) == 130
        finally:
            for writer in writers:
                writer.close()
        output, errors = process.communicate(timeout=20)
        assert gone(children)
    assert (output, errors) == (b"", b"")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reader_that_goes_ends_all_processes(files: list[Path], jobs: int) -> None:
    """`epm-inspector read ... | head` says nothing about pipes, and nothing stays."""
    command = f"{sys.executable} -m inspector read --json --jobs {jobs} {' '.join(map(str, files))} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_a_process_that_dies_is_an_error(endless: list[Path]) -> None:
    """The files that they read are named."""
    with subprocess.Popen(
        [*COMMAND, "--jobs", "2", *map(str, endless)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        for child in wait_for_children(process.pid, 2):
            os.kill(child, signal.SIGKILL)
        _, errors = process.communicate(timeout=20)
    assert errors == "".join(f"epm-inspector: {path}: the process that read it has ended\n" for path in endless)
    assert process.returncode == 1


def test_another_process_reads_what_is_left(endless: list[Path], files: list[Path]) -> None:
    """Where all processes have died, the files which none of them had begun are read all the same."""
    with subprocess.Popen(
        [*COMMAND, "--jobs", "2", *map(str, (*endless, files[1]))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        for child in wait_for_children(process.pid, 2):
            os.kill(child, signal.SIGKILL)
        output, errors = process.communicate(timeout=20)
    assert len(errors.splitlines()) == 2
    assert re.search(r"findings +3\n", output)
    assert process.returncode == 1


def test_progress_of_several_files() -> None:
    """What is read of all files adds up, in whatever order it is told; without one length there is no total."""
    told: list[tuple[int, int | None]] = []
    shares = Shares(lambda done, total: told.append((done, total)), [100, 50])
    first, second = shares.of(0), shares.of(1)
    first(10, 100)
    second(50, 50)
    first(100, 100)
    assert told == [(10, 150), (60, 150), (150, 150)]
    Shares(lambda done, total: told.append((done, total)), [100, None]).of(1)(5, None)
    assert told[-1] == (5, None)
    Shares(None, [1]).of(0)(1, 1)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_terminal_shows_some_rows_and_counts_all(files: list[Path], jobs: str) -> None:
    """Of more rows than can be read a few are shown or folded, and said how many were not; the table counts all."""
    leader, follower = os.openpty()
    command = [*COMMAND, "--jobs", jobs, *map(str, files)]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, cwd=ROOT):
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):
            while more := os.read(leader, 65536):
                shown += more
    os.close(leader)
    text = shown.decode()
    repeated = [int(count) for count in re.findall(r"(\d+) times, the last at", text)]
    rows = len(re.findall(r"10\.100\.0\.0", text)) - len(repeated) + sum(repeated)
    left_out = sum(map(int, re.findall(r"\.\.\. (\d+) more rows", text)))
    assert rows >= 200
    assert rows + left_out == 9023
    assert re.search(r"findings +9023", text)


def test_jobs_must_be_a_number(files: list[Path]) -> None:
    """None and fewer are mistakes of the command line."""
    for jobs in ("0", "-1", "many"):
        assert run("--jobs", jobs, *files).returncode == 2
