"""A full disk and a folder that cannot be written, for each place that ebb
writes to: clear words, nothing lost, and the same line finishes afterwards."""

import ctypes
import os
import re
import subprocess

import pytest
from ebbtest import (UNFINISHED, Workload, ebb_bin, shard_causes, shards, wait_until)

CLONE_NEWNS = 0x00020000
ITEMS = 6


def workload(box, **settings):
    return Workload(box, ITEMS, options=["--retry-delay", "20ms"], **settings)


@pytest.fixture(scope="module")
def mounts():
    """Mounts made from now on are seen by this process and its children only,
    and are gone with it."""
    needs = "NOT TRIED: a full disk is a small tmpfs, and to mount it takes root and a " \
        "mount namespace (CAP_SYS_ADMIN); "
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        pytest.skip(needs + "this is user %d: sudo make check-crash" % os.geteuid())
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip(needs + "root may not unshare here: %s (in a container: --privileged)"
                    % os.strerror(ctypes.get_errno()))
    if subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode != 0:
        pytest.skip(needs + "this root may not mount (in a container: --privileged)")


def mount(*args):
    subprocess.run(["mount", *map(str, args)], check=True)


class Disk:
    """A tmpfs of some KiB in the box's working folder."""

    def __init__(self, box, name, kib):
        self.path = box.root / name
        self.path.mkdir()
        mount("-t", "tmpfs", "-o", "size=%dk,mode=0777" % kib, "ebbtest", self.path)

    def remount(self, how):
        # Busy as long as a process that is just ending has a file open in it.
        wait_until(lambda: subprocess.run(
            ["mount", "-o", "remount," + how, str(self.path)], check=False,
            stderr=subprocess.DEVNULL).returncode == 0, 10, "remount," + how)

    def make_room(self):
        self.remount("size=64m")

    def unmount(self):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def disk(mounts, box):
    made = []

    def make(name, kib):
        made.append(Disk(box, name, kib))
        return made[-1]
    yield make
    box.end_all()
    for one in made:
        one.unmount()


def check_ended(r):
    """It may have waited for room and finished, else it says what is full."""
    r.check_words()
    assert r.code in UNFINISHED | {0, 2}, (r.code, r.err)
    if r.code not in (0, 75):
        assert re.search("space|full|no room", r.err), r.err


def run_until_full_then_finish(work, disks):
    """Up to 3 s with a full disk, then room is made; the same line until it is
    done."""
    run = work.start()
    try:
        run.proc.wait(3)
    except subprocess.TimeoutExpired:
        pass
    for one in disks:
        one.make_room()
    r = run.wait(75)
    check_ended(r)
    work.box.wait_alone()
    if r.code != 0:
        work.finish()
    work.check()
    return r


@pytest.mark.limit(110)
@pytest.mark.parametrize("kib", [4, 16, 40, 64, 100, 160, 256, 400])
def test_full_state(box, disk, kib):
    small = disk("state", kib)
    run_until_full_then_finish(workload(box, state="state/s"), [small])


@pytest.mark.limit(110)
@pytest.mark.parametrize("kib", [4, 8, 16])
def test_full_output(box, disk, kib):
    small = disk("mnt", kib)
    run_until_full_then_finish(workload(box, out="mnt/out"), [small])


@pytest.mark.limit(110)
@pytest.mark.parametrize("kib", [64, 128, 256, 400])
def test_full_state_and_output(box, disk, kib):
    small = disk("mnt", kib)
    run_until_full_then_finish(
        workload(box, out="mnt/out", state="mnt/state"), [small])


@pytest.mark.limit(110)
def test_full_tmpdir_of_ebb(box, disk):
    small = disk("tmp", 4)
    box.env["TMPDIR"] = str(small.path)
    run_until_full_then_finish(workload(box), [small])


@pytest.mark.limit(110)
def test_full_disk_in_a_child_is_infrastructure(box, disk):
    """The command's own scratch files do not fit: no failure of the command."""
    small = disk("tmp", 128)
    box.env["TMPDIR"] = str(small.path)
    box.env["EBBTEST_FILL"] = "512:%s" % small.path
    work = workload(box)
    run = work.start()
    try:
        wait_until(lambda: infrastructure(box), 15, "a shard with cause infrastructure")
        assert not failures(box)
    finally:
        small.make_room()
    r = run.wait(75)
    r.check_words()
    if r.code != 0:
        work.finish(seconds=90)
    work.check()


@pytest.mark.limit(110)
def test_full_output_in_a_child_is_infrastructure(box, disk):
    small = disk("mnt", 8)
    work = workload(box, out="mnt/out")
    run = work.start()
    try:
        wait_until(lambda: infrastructure(box) or run.poll() is not None, 15,
                   "a shard with cause infrastructure")
        assert infrastructure(box)
        assert not failures(box)
    finally:
        small.make_room()
    r = run.wait(75)
    r.check_words()
    if r.code != 0:
        work.finish(seconds=90)
    work.check()


def infrastructure(box):
    """Shards with an attempt that ended so."""
    return [s for s in shards(box) if "infrastructure" in shard_causes(s)]


def failures(box):
    return [s for s in shards(box) if "failed" in shard_causes(s)]


# ---- folders that cannot be written ----

def some_done(work):
    """A run that was killed in the middle."""
    box = work.box
    hold = box.top / "hold"
    hold.touch()
    run = work.start(EBBTEST_HOLD=hold)
    wait_until(box.starts, 10, "the first item")
    run.proc.kill()
    run.wait(5)
    box.wait_alone()
    hold.unlink()


@pytest.mark.limit(110)
@pytest.mark.parametrize("which", ["state", "out", "state of a run half done",
                                   "out of a run half done"])
def test_read_only_folder(box, disk, which):
    place = disk(which.split()[0], 65536)
    work = workload(box, out="out/o", state="state/s")
    if "half done" in which:
        some_done(work)
    place.remount("ro")
    r = work.run(seconds=75)
    r.check_words()
    assert r.code in UNFINISHED | {2}, (r.code, r.err)
    assert "read-only" in r.err.lower(), r.err
    box.wait_alone()
    place.remount("rw")
    work.finish(seconds=90)
    work.check()


@pytest.mark.limit(110)
def test_state_of_a_read_only_disk_can_be_looked_at(box, disk):
    place = disk("state", 65536)
    work = workload(box, state="state/s")
    work.finish(ebb_bin())
    place.remount("ro")
    r = box.run(["shards", "--json"])
    r.check_words()
    assert r.code in (0, 3), r
    place.remount("rw")
    work.check()


@pytest.mark.limit(110)
@pytest.mark.parametrize("which", ["state", "out"])
def test_a_folder_mounted_from_the_same_disk(box, mounts, which):
    """As containers do it: one file system, but no rename from one mount to
    the other."""
    folder = box.root / which
    folder.mkdir()
    mount("--bind", folder, folder)
    try:
        work = workload(box, out="out/o", state="state/s")
        work.finish(ebb_bin())
        work.check()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# ---- pipelines ----

FOLDER = r"""
set -e
n=$(cat "$EBB_CHECKPOINT/n" 2>/dev/null || echo 0)
echo "start $n 0 0" >>"$EBBTEST_LOG"
while [ "$n" -lt 12 ]; do
	n=$((n + 1))
	echo "$n"
	head -c 40000 /dev/zero >"$EBB_CHECKPOINT/data.$((n % 3))" || true
	echo "$n" >"$EBB_CHECKPOINT/n" || true
	if "$EBBTEST_EBB" task checkpoint; then
		echo "saved $n 0 0" >>"$EBBTEST_LOG"
	else
		echo "failed $n 0 0" >>"$EBBTEST_LOG"
		sleep 0.1
	fi
done
"""


@pytest.mark.limit(110)
@pytest.mark.parametrize("kib", [360, 440, 520])
def test_full_while_checkpoints_are_made(box, disk, kib):
    """A checkpoint that did not fit is answered so, the one before holds, and
    nothing of it is left."""
    small = disk("state", kib)
    box.env.update(EBB_STATE=str(small.path / "s"), EBBTEST_EBB=ebb_bin())
    (box.root / "folder.sh").write_text(FOLDER)
    (box.root / "p.yaml").write_text("""version: 1
name: full
stages:
  s:
    input: {count: 1}
    run: bash folder.sh
    output: out.txt
    retry: {failures: 100, infrastructure: 100, interruptions: 100, backoff: 20ms..50ms}
""")
    run = box.start(["run", "p.yaml"])
    wait_until(lambda: run.poll() is not None or
               any(line[0] == "failed" for line in box.log_lines()), 15, "a full disk")
    assert "failed" in [line[0] for line in box.log_lines()]
    small.make_room()
    r = run.wait(60)
    check_ended(r)
    box.wait_alone()
    r = box.run(["run", "p.yaml"], seconds=60)
    assert r.code == 0, r.err
    assert (box.root / "out.txt").read_text() == "".join("%d\n" % n for n in range(1, 13))
    left = [str(p) for kind in ("checkpoints", "private")
            for p in small.path.glob("s/runs/*/%s/*" % kind)]
    assert not left
