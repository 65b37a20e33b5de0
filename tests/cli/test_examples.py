"""The examples, by the commands that their READMEs give: run, killed on the way,
run again, and compared with what they are to come to."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from ebbcli import wait_for_lines
from ebbtest import ROOT, ebb_bin, kill, pids, proc_text, wait_until, with_token

FENCED = re.compile(r"^```(\w+)\n(.*?)^```\n", re.M | re.S)

# In place of a program: writes down for what shard it runs, and waits after so
# many calls while calls are held.
GATE = """#!/bin/sh
[ -n "${EBB_SHARD:-}" ] || exec REAL "$@"
me="$EBB_STAGE	$EBB_SHARD	$$"
echo "$me" >>"$EBBTEST_LOG"
while [ -e "$EBBTEST_HOLD" ]; do
	nth=$(grep -n -F -x "$me" "$EBBTEST_LOG")
	[ "${nth%%:*}" -gt CALLS ] || break
	sleep 0.01
done
exec REAL "$@"
"""


# A program of Debian's before another of that name.
PATH = "/usr/bin:" + os.environ["PATH"]


class Example:
    """A copy of an example in a box, and the blocks of its README in order; each
    is taken by the words that it begins with."""

    def __init__(self, box, name):
        self.box = box
        shutil.copytree(ROOT / "examples" / name, box.root, dirs_exist_ok=True)
        self.blocks = FENCED.findall((box.root / "README.md").read_text())
        self.used = set()
        self.bin = box.top / "bin"
        self.bin.mkdir()
        box.env["PATH"] = "%s:%s:%s" % (self.bin, Path(ebb_bin()).parent, PATH)

    def take(self, words, kind="sh"):
        """The block's text, and what the README says that it prints, or None."""
        found = [i for i, (k, text) in enumerate(self.blocks)
                 if k == kind and text.startswith(words)]
        assert len(found) == 1, "%d blocks begin with %s" % (len(found), words)
        self.used.update(found)
        after = found[0] + 1
        if after < len(self.blocks) and self.blocks[after][0] == "text":
            self.used.add(after)
            return self.blocks[found[0]][1], self.blocks[after][1]
        return self.blocks[found[0]][1], None

    def begin(self, words):
        return self.box.start(["-euc", self.take(words)[0]], program="bash")

    def run(self, words, code=0):
        printed = self.take(words)[1]
        r = self.begin(words).wait(20)
        assert r.code == code, r.err
        if printed is not None:
            assert r.out.decode() == printed
        return r

    def all_run(self):
        """Nothing is in the README that the test has not run."""
        assert self.used == set(range(len(self.blocks)))

    def gate(self, program, calls):
        """Lets that many calls of a program go through while calls are held."""
        real = shutil.which(program, path=PATH)
        gate = self.bin / program
        gate.write_text(GATE.replace("REAL", real).replace("CALLS", str(calls)))
        gate.chmod(0o755)

    def stage_and_shard(self):
        return [tuple(line.split("\t")[:2]) for line in self.box.ran()]

    def crash_in(self, words, calls, done):
        """Runs a block with ebb killed by kill -9 in the call after so many, when so
        many shards are over. Returns these."""
        def over():
            shards = self.box.shards() if len(self.box.status()) else []
            return {(s.get("stage", ""), s["name"]) for s in shards
                    if s["state"] in ("accepted", "published", "failed")}

        self.box.hold()
        running = self.begin(words)
        wait_for_lines(self.box, calls + 1)
        wait_until(lambda: len(over()) >= done, 10, "%d shards over" % done)
        for pid in with_token(self.box.token):
            if is_ebb(pid):
                kill(pid)
        assert running.wait(5).code != 0
        self.box.wait_alone(2.0)
        self.box.release()
        before = over()
        self.box.forget()
        return before


def is_ebb(pid):
    """The program itself, not its guardian."""
    try:
        return os.path.samefile("/proc/%d/exe" % pid, ebb_bin()) and \
            b"guardian" not in proc_text(pid, "comm")
    except OSError:
        return False


@pytest.fixture
def example(box):
    return lambda name: Example(box, name)


# ---- access logs ----

LINE = re.compile(r'^[^"]* \[\d\d/\w{3}/\d{4}:(\d\d):[^"]*"[^"]*" (\d{3}) (\d+|-)( |$)')


def count_logs(files, by):
    """The table, counted anew: group 1 of LINE is the hour, 2 the status."""
    rows = {}
    for line in [line for f in files for line in f.read_text().splitlines()]:
        m = LINE.match(line)
        row = rows.setdefault(m[by] if m else "-", [0, 0, 0])
        row[0] += 1
        row[1] += int(m[3]) if m and m[3] != "-" else 0
        row[2] += m is not None and m[2] >= "400"
    head = "%s\trequests\tbytes\terrors\n" % {1: "hour", 2: "status"}[by]
    return head + "".join("%s\t%d\t%d\t%d\n" % (key, *rows[key]) for key in sorted(rows))


def check_log_tables(box):
    logs = sorted(box.path("data/2026-07-01").glob("*.log"))
    assert box.read("out/hours-2026-07-01.tsv").decode() == count_logs(logs, 1)
    assert box.read("out/statuses-2026-07-01.tsv").decode() == count_logs(logs, 2)


def test_logs(box, example):
    logs = example("logs")
    logs.run("./make-logs.py")
    logs.gate("awk", 9)
    before = logs.crash_in("ebb run", 9, 2)
    assert not box.path("out").exists()
    logs.run("ebb run")
    again = set(logs.stage_and_shard())
    assert before and not before & again and before | again == {
        (s["stage"], s["name"]) for s in box.shards()}
    check_log_tables(box)
    logs.run("cat out/statuses")

    box.forget()
    with box.path("data/2026-07-01/web1.log").open("ab") as log:
        log.write(box.read("data/2026-07-02/web1.log")[:1000])
    logs.run("ebb run")
    assert {shard.split("#")[0] for stage, shard in logs.stage_and_shard() if stage == "parse"} == {
        "data/2026-07-01/web1.log"}
    check_log_tables(box)
    logs.all_run()


# ---- a matrix ----

def test_matrix(box, example):
    matrix = example("matrix")
    cells = box.read("matrix.txt").decode().splitlines()
    line = re.search(r"^    (printf .*) >matrix.txt$", box.read("README.md").decode(), re.M)[1]
    assert subprocess.check_output(["bash", "-c", line], text=True).splitlines() == cells

    matrix.gate("gcc", 6)
    before = matrix.crash_in("ebb run", 6, 4)
    r = matrix.run("ebb run", code=1)
    again = [shard for stage, shard in matrix.stage_and_shard() if stage == "cells"]
    wrong = {c for c in cells if "c90" in c or "-funsigned" in c}
    passed_before = {c for _, c in before} - wrong
    assert sorted(again) == sorted(set(cells) - passed_before)
    assert "failed: verdict:all" in r.err
    assert box.read("out/matrix.tsv").decode() == "".join(
        "%s\t%s\n" % ("FAILED" if c in wrong else "ok", c) for c in cells)
    matrix.run("head")
    assert b"Assertion" in matrix.run("ebb logs").out
    assert {s["name"] for s in box.shards("--state", "failed")} == wrong | {"all"}
    matrix.run("sed")
    matrix.all_run()


# ---- frames ----

def picture(box, name, width, height):
    """Its pixels, as 0 for black to 255 for white, by [y][x]."""
    data = subprocess.check_output(["convert", name, "-depth", "8", "gray:-"], cwd=box.root,
                                   env=box.env)
    assert len(data) == width * height
    return [data[y * width:(y + 1) * width] for y in range(height)]


def square_at(pixels, left, top, scale):
    """In which of the 6 places the white square is."""
    found = [i for i in range(6) if min(
        pixels[top + int((48 + dy) * scale)][left + int((26 * i + dx) * scale)]
        for dy in (6, 18) for dx in (6, 18)) > 250]
    return found[0] if len(found) == 1 else None


@pytest.fixture
def frames(example):
    made = example("frames")
    real = shutil.which("convert", path=PATH)
    version = real and subprocess.run([real, "-version"], capture_output=True, check=False).stdout
    if not version or not version.startswith(b"Version: ImageMagick"):
        pytest.skip("NEEDS ImageMagick: apt-get install imagemagick (and ffmpeg, for videos) "
                    "to have this tested")
    return made


def test_frames(box, frames):
    frames.run("./make-clips.sh")
    frames.gate("convert", 4)
    before = frames.crash_in("ebb run", 4, 4)
    assert not box.path("out/sheet.png").exists()
    frames.run("ebb run")
    again = frames.stage_and_shard()
    assert before and not before & set(again)
    frames.run("ls out")

    names = ["square-%03d.png" % i for i in range(6)]
    if box.path("clips/test.mkv").exists():
        names += ["test-%03d.png" % i for i in range(6)]
    for folder in ("out/frames", "out/thumbs"):
        assert sorted(p.name for p in box.path(folder).iterdir()) == names
    assert square_at(picture(box, "out/frames/square-003.png", 160, 120), 0, 0, 1) == 3
    assert square_at(picture(box, "out/thumbs/square-005.png", 80, 60), 0, 0, 0.5) == 5
    sheet = picture(box, "out/sheet.png", 480, -(-len(names) // 6) * 60)
    assert [square_at(sheet, i % 6 * 80, i // 6 * 60, 0.5) for i in range(6)] == list(range(6))

    box.forget()
    pipeline = box.read("frames.yaml").decode().replace('-resize, "80"', '-resize, "40"')
    box.write("frames.yaml", pipeline)
    frames.run("ebb run")
    assert Counter(stage for stage, _ in frames.stage_and_shard()) == {"thumbs": len(names)}

    box.forget()
    shutil.copy(box.path("clips/square.gif"), box.path("clips/more.gif"))
    frames.run("ebb run")
    assert Counter(stage for stage, _ in frames.stage_and_shard()) == {"frames": 1, "thumbs": 6}
    frames.all_run()


# ---- a list that grows ----

def count_words(text):
    words = Counter(re.findall("[a-z]+", text.lower()))
    rows = sorted(words.items(), key=lambda row: (-row[1], row[0]))
    return "".join("%s\t%d\n" % row for row in rows)


def check_counts(box, *names):
    assert {p.name for p in box.path("counts").iterdir()} == {n + ".tsv" for n in names}
    for n in names:
        text = box.read("texts/%s.txt" % n).decode()
        assert box.read("counts/%s.tsv" % n).decode() == count_words(text)


def counted(growing):
    names = [Path(shard).stem for _, shard in growing.stage_and_shard()]
    growing.box.forget()
    return names


def test_growing(box, example):
    growing = example("growing")
    assert re.search(r"^    (ebb map.*)$", box.read("README.md").decode(), re.M)[1] in \
        box.read("update.sh").decode()
    growing.gate("uniq", 1)
    (done,) = growing.crash_in("./update.sh", 1, 1)
    check_counts(box, Path(done[1]).stem)
    growing.run("./update.sh")
    assert counted(growing) == [({"tides", "harbour"} - {Path(done[1]).stem}).pop()]
    check_counts(box, "harbour", "tides")
    growing.run("echo texts/moon.txt")
    assert counted(growing) == ["moon"]
    check_counts(box, "harbour", "moon", "tides")
    r = growing.run("sed")
    assert "left over: 1 output" in r.err and counted(growing) == []
    check_counts(box, "moon", "tides")

    # A line is there twice, another is empty; a text has changed.
    box.write("list.txt", box.read("list.txt") + b"\ntexts/moon.txt\n")
    box.write("texts/moon.txt", "No moon.\n")
    assert box.start(["-c", "./update.sh"], program="sh").wait(10).code == 0
    assert counted(growing) == ["moon"]
    check_counts(box, "moon", "tides")


def test_growing_in_a_loop_and_by_cron(box, example):
    growing = example("growing")
    # The loop, where sleep comes back at once with a line more, and fails in the end.
    growing.bin.joinpath("sleep").write_text(
        "#!/bin/sh\n[ ! -e counts/moon.tsv ] && echo texts/moon.txt >>list.txt\n")
    growing.bin.joinpath("sleep").chmod(0o755)
    assert growing.begin("while sleep").wait(20).code == 0
    check_counts(box, "harbour", "moon", "tides")
    growing.bin.joinpath("sleep").unlink()

    path, line = growing.take("PATH", "crontab")[0].splitlines()
    command = re.fullmatch(r"(?:\S+ ){5}(.*)", line)[1]
    box.top.joinpath("growing").symlink_to(box.root)
    box.env = {"HOME": str(box.top), "EBB_TEST_TOKEN": box.token, "EBBTEST_LOG": str(box.log),
               "EBBTEST_HOLD": str(box.hold_path),
               "PATH": "%s:%s:%s" % (growing.bin, Path(ebb_bin()).parent, path[len("PATH="):])}
    growing.gate("uniq", 0)
    box.write("texts/tides.txt", "No tide.\n")
    box.hold()
    first = box.start(["-c", command], program="sh", cwd=box.top)
    wait_for_lines(box, 1)
    assert box.start(["-c", command], program="sh", cwd=box.top).wait(10).code == 0
    assert counted(growing) == ["tides"]
    box.release()
    assert first.wait(10).code == 0
    check_counts(box, "harbour", "moon", "tides")
