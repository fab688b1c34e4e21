"""Builds that are killed: the same command goes on, to the same bytes, and redoes nothing."""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from retdm.errors import ConfigError, DatasetError, StorageError
from retdm.shard import build as module
from retdm.shard.verify import verify
from retdm.storage.file import FileStore

PHOTOS, TARS = 360, 25
SPEC = """
name = "many"
reader = "table"
[resize]
short_side = 96
[shards]
samples = 15
"""


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Photos that take a second or two to pack."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "images").mkdir()
    rows = ["path,sea,sky"]
    kinds = []
    for number in range(8):
        path = folder / f"{number}.jpg"
        Image.effect_noise((400, 300), 40 + number).convert("RGB").save(path, quality=90)
        kinds.append(path.read_bytes())
    for number in range(PHOTOS):
        (folder / f"images/{number}.jpg").write_bytes(kinds[number % 8])
        rows.append(f"{number}.jpg,{number % 2},{int(number % 3 == 0)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "spec.toml").write_text(SPEC)
    return folder


class Build:
    """A running `python -m retdm.shard build`, in a session of its own."""

    def __init__(self, source, out, *arguments, program="-m retdm.shard"):
        self.out = Path(out)
        self.log = self.out.with_name(f"{self.out.name}.log")
        command = ["build", source / "spec.toml", "--source", source, "--out", out, *arguments]
        with self.log.open("wb") as log:
            self.process = self.start([str(word) for word in command], program, log)

    def start(self, command, program, log):
        return subprocess.Popen(
            [sys.executable, *program.split(" ", 1), *command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A shell in the background hands an ignored Ctrl-C down to all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def records(self):
        """Finished tars."""
        return sorted(path.name for path in self.out.glob("_build/*-*.json"))

    def wait_for(self, count):
        """Return when so many tars are finished, or the build is."""
        deadline = time.monotonic() + 60
        while len(self.records()) < count and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def survivors(self):
        """Processes of the build that still run after some seconds."""
        deadline = time.monotonic() + 10
        while self.family() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.family()

    def family(self):
        """All processes of the build."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                state, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
                if int(session) == self.process.pid and state not in "ZX":
                    found.append(int(path.parent.name))
        return found


FORKS = """
import json, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # see Build.start
import retdm.shard.build as module
from retdm.console import run
from retdm.shard.__main__ import main

def struck(work, items, *, workers, real=module.work_through):
    event, delay, number = strike
    send = os.kill if number == 9 else os.killpg  # as a terminal does
    timer = threading.Timer(delay, send, (os.getpid(), number))
    if not event:
        timer.start()
    for count, found in enumerate(real(work, items, workers=workers), 1):
        if count == event:
            timer.start()
        yield found
    time.sleep(60)  # the signal comes

for line in sys.stdin:
    command, log, strike = json.loads(line)
    pid = os.fork()
    if not pid:
        if strike:
            module.work_through = struck
        os.setsid()
        os.dup2(log := os.open(log, os.O_WRONLY), 1)
        os.dup2(log, 2)
        os._exit(run(lambda: main(command)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def warm():
    """`warm(source, out, ...)`: a `Build` that need not import everything first.

    With `strike=(event, delay, signal)` it sends its process group a signal, `delay` seconds after
    so many photos and tars were packed: however busy the machine is, it comes in time.
    """
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forks:

        class Fork:
            """What is used of a `subprocess.Popen`."""

            def __init__(self, command, log, strike):
                forks.stdin.write(json.dumps([command, log.name, strike]) + "\n")
                forks.stdin.flush()
                self.pid = int(forks.stdout.readline())
                self.send_signal = functools.partial(os.kill, self.pid)
                self.wait = functools.cache(lambda timeout: int(forks.stdout.readline()))

            def poll(self):
                return None if Path(f"/proc/{self.pid}").exists() else self.wait(60)

        class Warm(Build):
            def __init__(self, *arguments, strike=None):
                self.strike = strike
                super().__init__(*arguments)

            def start(self, command, program, log):
                return Fork(command, log, self.strike)

        yield Warm
        forks.stdin.close()


def whole(build):
    assert build.process.wait(60) == 0, build.log.read_text()
    return content(build.out)


def places(out):
    """Which files the finished tars are."""
    names = [path.stem.rsplit("-", 1) for path in Path(out).glob("_build/*-*.json")]
    tars = [out / split / f"{number}.tar" for split, number in names]
    return {str(tar): (tar.stat().st_ino, tar.stat().st_mtime_ns) for tar in tars}


@pytest.mark.slow
def test_killed_at_twenty_points_and_run_again(many, warm, tmp_path):
    expected = whole(warm(many, tmp_path / "whole", "--workers", "2"))
    assert sum(name.endswith(".tar") for name in expected) == TARS
    dice = random.Random(7)
    kills = 0
    for series in range(4):
        out = tmp_path / f"series{series}"
        workers = str(1 + series % 2)
        kept = {}
        # Five kills on the way through, each at some moment of some tar.
        # Two workers are up to four tars ahead, so some tars are left at the last.
        for count in sorted(dice.sample(range(TARS - 8), 5)):
            events = 16 * max(0, count - len(kept)) + dice.randrange(16)
            strike = (events, dice.uniform(0, 0.03), signal.SIGKILL)
            build = warm(many, out, "--workers", workers, strike=strike)
            assert build.process.wait(60) == -signal.SIGKILL, build.log.read_text()
            kills += 1
            assert not (out / "manifest.json").exists()
            assert build.survivors() == [], "the workers outlived the build"
            now = places(out)
            assert {tar: now.get(tar) for tar in kept} == kept, "a finished tar was redone"
            kept = now
        assert whole(warm(many, out, "--workers", workers)) == expected
        files = {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.rglob("*.tar")}
        assert {tar: files[tar] for tar in kept} == kept
    assert kills == 20


DIES = """
import os, signal, sys
import retdm.shard.build as module
from retdm.shard.__main__ import main
from retdm.storage.file import FileStore

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write(self, name, content, real=FileStore.write):
    if name == {before!r}:
        die()
    real(self, name, content)
    if name == {after!r}:
        die()

def delete(self, name, real=FileStore.delete):
    real(self, name)
    if name == {deleted!r}:
        die()

FileStore.write = write
FileStore.delete = delete
sys.exit(main())
"""


@pytest.mark.parametrize(
    "moment, published",
    [
        ({"before": "train/labels.parquet"}, False),
        ({"after": "val/labels.parquet"}, False),
        ({"before": "manifest.json"}, False),
        ({"after": "manifest.json"}, True),
        ({"deleted": "_build/train-000001.json"}, True),
        ({"before": "_build/train-000001.json"}, False),
    ],
    ids=str,
)
def test_killed_between_two_files(source, shards, tmp_path, pack, moment, published):
    out = tmp_path / "out"
    program = DIES.format(**{"before": "", "after": "", "deleted": "", **moment})
    build = Build(source, out, "--workers", "1", program=f"-c {program}")
    assert build.process.wait(60) == -signal.SIGKILL, build.log.read_text()
    assert (out / "manifest.json").exists() == published
    if published:
        assert verify(str(out)) == []
    pack(out)
    assert content(out) == content(shards)


@pytest.fixture
def interrupted(pack, tmp_path):
    """A build of the twenty photos that ended before the manifest, with six finished tars."""

    def write(self, name, content, real=FileStore.write):
        if name == "_build/done.json":
            raise StorageError("the disk is full")
        real(self, name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileStore, "write", write)
        with pytest.raises(StorageError, match="the disk is full"):
            pack(tmp_path / "out")
    assert len(places(tmp_path / "out")) == 6
    return tmp_path / "out"


def test_what_was_left_by_others_is_removed(interrupted, shards, pack, tmp_path):
    stray = interrupted / "gone/000009.tar"
    stray.parent.mkdir()
    stray.write_bytes(b"left by another interrupted build")
    (stray.parent / f".000009.idx.{'0f' * 16}.part").write_bytes(b"left by a killed write")
    before = places(interrupted)
    pack(interrupted)
    assert content(interrupted) == content(shards)
    assert {t: (os.stat(t).st_ino, os.stat(t).st_mtime_ns) for t in before} == before


@pytest.mark.parametrize("change", ["photo", "time", "labels", "spec"])
def test_what_changed_since_is_packed_anew(interrupted, pack, source, tmp_path, image, change):
    before = places(interrupted)
    path = source / "images/4.jpg"
    overrides = []
    if change == "photo":
        path.write_bytes(image(77))
    elif change == "time":  # same size, other content: only the time tells
        content_now = bytearray(path.read_bytes())
        content_now[-20] ^= 1
        path.write_bytes(bytes(content_now))
    elif change == "labels":
        text = (source / "labels.csv").read_text()
        (source / "labels.csv").write_text(text.replace("\n4.jpg,0,0", "\n4.jpg,1,1"))
    else:
        overrides = ["shards.samples=3"]
    pack(interrupted, *overrides, overwrite=change == "spec")
    pack(tmp_path / "fresh", *overrides)
    assert content(interrupted) == content(tmp_path / "fresh")
    assert verify(str(interrupted)) == []
    redone = [tar for tar, file in before.items() if not _same(tar, file)]
    # With three in a tar the two of "val" stay where they are.
    assert len(redone) == (5 if change == "spec" else 1)


def test_finished_tars_of_another_build_are_not_thrown_away(interrupted, pack, source, cli):
    before = content(interrupted)
    spec = source / "spec.toml"
    options = ["--source", source, "--out", interrupted]
    told = (
        f"error: --out {interrupted} holds an interrupted build of something else (%s), with 6 "
        "finished tars; run that one again to finish it, choose another --out, or pass "
        "--overwrite to give its tars up\n"
    )
    changes = ["split.seed=3", "shards.samples=3", "resize.quality=9", "name=b"]
    sets = [word for change in changes for word in ("--set", change)]
    status, out, err = cli("build", spec, *options, *sets)
    assert (status, out) == (2, "")
    assert err == told % (
        'name was "tiny", now it is "b"; split.seed was 0, now it is 3; resize.quality was 92, '
        "now it is 9; 1 more"
    )
    moved = source.with_name("moved")
    source.rename(moved)
    status, _, err = cli("build", moved / "spec.toml", "--source", moved, "--out", interrupted)
    assert (status, err) == (2, told % f'source was "{source}", now it is "{moved}"')
    moved.rename(source)
    assert content(interrupted) == before
    assert cli("build", spec, *options, *sets, "--overwrite")[0] == 0
    assert verify(str(interrupted)) == []


def test_tars_that_no_longer_fit_are_counted(interrupted, pack, source, caplog):
    (source / "images/4.jpg").touch()
    with caplog.at_level("INFO"):
        pack(interrupted)
    assert caplog.messages == [
        f"{interrupted}: 5 of 6 tars are finished already",
        f"{interrupted}: tars packed anew, as photos, labels, check or versions have changed "
        "since: 1",
    ]


def test_a_note_that_says_nothing_is_no_other_build(interrupted, shards, pack):
    for text in ("", "3", "{"):  # as earlier versions, or a damaged disk, have it
        (interrupted / "_build/begun").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_pack", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                pack(interrupted)
    pack(interrupted)
    assert content(interrupted) == content(shards)


@pytest.mark.parametrize("damaged", ["_build/done.json", "manifest.json"])
def test_a_damaged_end_is_replaced_when_asked(source, pack, shards, tmp_path, damaged):
    program = DIES.format(before="", after="manifest.json", deleted="")
    out = tmp_path / "out"
    assert Build(source, out, program=f"-c {program}").process.wait(60) == -signal.SIGKILL
    (out / damaged).write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"holds a finished shard set; .* or pass --overwrite"):
        pack(out)
    pack(out, overwrite=True)
    assert content(out) == content(shards)


def _same(tar, file):
    found = os.stat(tar)
    return (found.st_ino, found.st_mtime_ns) == file


@pytest.mark.parametrize("damage", ["record", "tar", "size"])
def test_a_record_that_is_wrong_is_not_believed(interrupted, shards, pack, damage):
    if damage == "record":
        (interrupted / "_build/train-000001.json").write_bytes(b"{")
    elif damage == "tar":
        (interrupted / "train/000001.tar").unlink()
    else:
        (interrupted / "train/000001.tar").write_bytes(b"short")
    pack(interrupted)
    assert content(interrupted) == content(shards)


def test_a_bad_photo_found_by_the_second_try_leaves_nothing(interrupted, pack, source):
    (source / "images/4.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"4.jpg is empty"):
        pack(interrupted)
    assert content(interrupted) == {}


def test_the_end_of_another_build_is_not_cleaned_up(source, pack, tmp_path):
    program = DIES.format(before="", after="manifest.json", deleted="")
    out = tmp_path / "out"
    assert Build(source, out, program=f"-c {program}").process.wait(60) == -signal.SIGKILL
    before = content(out)
    with pytest.raises(ConfigError, match=r"holds a finished shard set; .* or pass --overwrite"):
        pack(out, "split.seed=3")
    assert content(out) == {name: before[name] for name in before if name != "_build/lock"}
    pack(out, "split.seed=3", overwrite=True)
    pack(tmp_path / "fresh", "split.seed=3")
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("event, delay", [(100, 0.0), (100, 0.02), (0, 0.1), (0, 0.4), (0, 0.7)])
def test_ctrl_c_ends_all_processes_and_keeps_what_is_finished(many, warm, tmp_path, event, delay):
    # The latter while the processes are being started.
    strike = (event, delay, signal.SIGINT)
    build = warm(many, tmp_path / "out", "--workers", "2", strike=strike)
    assert build.process.wait(60) == 130, build.log.read_text()
    assert build.survivors() == []
    log = build.log.read_text()
    assert f"{tmp_path / 'out'}: finished tars are kept; run the same again to go on" in log
    assert "Traceback" not in log, log
    assert len(build.records()) >= (3 if event else 0)
    assert not (tmp_path / "out/_build/lock").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_build(many, tmp_path):
    build = Build(many, tmp_path / "out", "--workers", "2")
    build.wait_for(2)
    newest = max(pid for pid in build.family() if pid != build.process.pid)
    os.kill(newest, signal.SIGKILL)
    assert build.process.wait(60) == 2
    assert "a worker process was killed, perhaps because the memory was full" in (
        build.log.read_text()
    )
    assert module.MANIFEST not in content(tmp_path / "out")
