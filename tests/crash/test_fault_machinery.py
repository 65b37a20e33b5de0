"""The machinery itself, on a small stand-in for ebb that follows the same
steps (support/fault_probe.c): points, failing calls, the record of writes, and
that seeded bugs are found by the power-cut replay."""

import shutil
import signal
import struct
import time

import pytest
from ebbtest import OTHER_BOOT, kill, probe_bin, spread, state_of, wait_until
from powercut import final_image, images, read_log, read_tree

ITEMS = 3
EXPECTED = {"%d.txt" % i: b"".join(b"item %d line %d\n" % (i, n) for n in range(50))
            for i in range(ITEMS)}


def probe(box, *bug, **env):
    return box.run(["state", "out", ITEMS, *bug], program=probe_bin(), seconds=10, **env)


def outputs(box):
    """The published files; private ones of an attempt that was cut off may stay."""
    return {name: data for name, data in read_tree(box.root / "out").items()
            if not name.startswith(".")}


def clear(box):
    for entry in box.root.iterdir():
        shutil.rmtree(entry)


def calls(box, **env):
    """(file calls, allocations, points) of an undisturbed run."""
    path = box.top / "calls"
    assert probe(box, EBB_FAULT_CALLS=path, **env).code == 0
    return struct.unpack("<3Q", path.read_bytes()[:24])


def test_undisturbed(fast_box):
    assert probe(fast_box).code == 0
    assert outputs(fast_box) == EXPECTED


def test_points_are_counted_over_both_processes(fast_box):
    path = fast_box.top / "points"
    assert calls(fast_box, EBB_FAULT_COUNT=path)[2] == 6 * ITEMS
    passed = [line.split() for line in path.read_text().splitlines()]
    assert [n for name, n, _ in passed if name == "probe.child"] == ["1", "2", "3"]
    assert [n for name, n, _ in passed if name == "probe.publish.after"] == ["1", "2", "3"]
    assert len({pid for _, _, pid in passed}) == 1 + ITEMS


def test_a_crash_at_each_point(fast_box):
    path = fast_box.top / "points"
    assert probe(fast_box, EBB_FAULT_COUNT=path).code == 0
    passed = [line.split()[:2] for line in path.read_text().splitlines()]
    for name, n in passed:
        clear(fast_box)
        r = probe(fast_box, EBB_FAULT_CRASH="%s:%s" % (name, n))
        assert r.code == (3 if name == "probe.child" else -signal.SIGKILL)
        assert probe(fast_box).code == 0
        assert outputs(fast_box) == EXPECTED, (name, n)


def test_the_count_is_complete_after_a_kill(fast_box):
    path = fast_box.top / "points"
    counters = fast_box.top / "calls"
    r = probe(fast_box, EBB_FAULT_COUNT=path, EBB_FAULT_CALLS=counters,
              EBB_FAULT_CRASH="probe.accept.after:2")
    assert r.code == -signal.SIGKILL
    lines = path.read_text().splitlines()
    assert lines[-1].split()[:2] == ["probe.accept.after", "2"]
    assert struct.unpack("<3Q", counters.read_bytes()[:24])[2] == len(lines)


def test_a_stop_at_a_point(fast_box):
    run = fast_box.start(["state", "out", ITEMS], program=probe_bin(),
                         EBB_FAULT_STOP="probe.accept.after:1")
    wait_until(lambda: state_of(run.pid) == "T", 5, "stopped")
    kill(run.pid, signal.SIGCONT)
    assert run.wait(5).code == 0


@pytest.mark.parametrize("errno", ["ENOSPC", "EIO"])
def test_each_file_call_fails_once(fast_box, errno):
    count = calls(fast_box)[0]
    failed = set()
    for n in range(1, count + 1):
        clear(fast_box)
        path = fast_box.top / "calls"
        r = probe(fast_box, EBB_FAULT_FAIL="%d:%s" % (n, errno), EBB_FAULT_CALLS=path)
        assert r.code in (0, 3), (n, r)
        assert r.code == 0 or r.err.startswith("ebb: ")
        failed.add(path.read_bytes()[24:].rstrip(b"\0").decode())
        assert probe(fast_box).code == 0, n
        assert outputs(fast_box) == EXPECTED, n
    assert {"open", "close", "fsync", "fsync_dir", "write", "rename", "rename_noreplace", "mkdir",
            "sqlite.open", "sqlite.write", "sqlite.sync", "sqlite.truncate"} <= failed


def test_all_calls_fail_from_one_on(fast_box):
    count = calls(fast_box)[0]
    for n in spread(count, 12):
        clear(fast_box)
        assert probe(fast_box, EBB_FAULT_FAIL=n, EBB_FAULT_FAIL_EVERY=1).code in (0, 3)
        assert probe(fast_box).code == 0
        assert outputs(fast_box) == EXPECTED


def test_each_allocation_fails_once(fast_box):
    for n in range(1, calls(fast_box)[1] + 1):
        clear(fast_box)
        r = probe(fast_box, EBB_FAULT_ALLOC=n)
        assert r.code == 3 and "memory" in r.err, (n, r)
        assert probe(fast_box).code == 0
        assert outputs(fast_box) == EXPECTED


def test_clocks_and_boot_id(fast_box):
    def clock(**env):
        name, boot, wall = fast_box.run(["clock"], program=probe_bin(), **env).out.split()
        return name.decode(), int(boot) / 1e9, int(wall) / 1e9

    assert abs(clock()[1] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    name, boot, wall = clock(EBB_FAULT_BOOT_ID=OTHER_BOOT, EBB_FAULT_CLOCK_MS=3600000,
                             EBB_FAULT_WALL_MS=-3600000)
    assert name == OTHER_BOOT
    assert 3590 < boot - time.clock_gettime(time.CLOCK_BOOTTIME) < 3610
    assert -3610 < wall - time.time() < -3590


@pytest.mark.parametrize("setting", [
    {"EBB_FAULT_CRASH": "nonsense"}, {"EBB_FAULT_CRASH": "a:0"}, {"EBB_FAULT_FAIL": "x"},
    {"EBB_FAULT_FAIL": "3:ENONSENSE"}, {"EBB_FAULT_ALLOC": "many"},
])
def test_nonsense_is_refused(fast_box, setting):
    r = probe(fast_box, **setting)
    assert r.code == 2 and "makes no sense" in r.err


# ---- the record and the replay ----

def record(box, *bug):
    log = box.top / "log"
    assert probe(box, *bug, EBB_FAULT_RECORD=log, EBB_FAULT_ROOT=box.root).code == 0
    return read_log(log)


def test_the_record_is_what_happened(fast_box):
    records = record(fast_box)
    assert final_image(records).files() == read_tree(fast_box.root)


def test_the_record_is_complete_in_a_crash(fast_box):
    log = fast_box.top / "log"
    probe(fast_box, EBB_FAULT_RECORD=log, EBB_FAULT_ROOT=fast_box.root,
          EBB_FAULT_CRASH="probe.publish.renamed:2")
    assert final_image(read_log(log)).files() == read_tree(fast_box.root)


def test_both_processes_record_in_one_order(fast_box):
    records = record(fast_box)
    marks = [(r.path, r.arg) for r in records if r.op == "mark"]
    assert len(marks) == 6 * ITEMS
    assert marks[:3] == [("probe.child", 1), ("probe.accept.before", 1), ("probe.accept.after", 1)]
    assert len({r.pid for r in records}) == 1 + ITEMS


def broken_images(box, records, stop_at_first):
    """Replays the images; returns (tried, those that did not recover)."""
    tried, broken = 0, []
    for image in images(records):
        clear(box)
        image.build(box.root)
        r = probe(box)
        tried += 1
        if r.code != 0 or outputs(box) != EXPECTED:
            broken.append((str(image), r.code, r.err))
            if stop_at_first:
                break
    return tried, broken


def test_no_power_cut_loses_anything(fast_box, tally):
    tried, broken = broken_images(fast_box, record(fast_box), False)
    tally("power cuts of the stand-in", "images", tried)
    assert not broken
    assert tried > 80


@pytest.mark.parametrize("bug", ["no-sync", "no-dir-sync", "early-accept"])
def test_power_cuts_find_seeded_bugs(fast_box, bug):
    assert broken_images(fast_box, record(fast_box, bug), True)[1]


def test_power_cuts_find_a_file_renamed_before_its_fsync(fast_box):
    """Restarted, the stand-in does it again, so look at the images alone: the
    final name is there with other bytes."""
    records = record(fast_box, "rename-first")
    torn = [i for i in images(records)
            if any(i.files().get("out/" + n, data) != data for n, data in EXPECTED.items())]
    assert torn
    good = record_again(fast_box)
    assert not [i for i in images(good)
                if any(i.files().get("out/" + n, data) != data for n, data in EXPECTED.items())]


def record_again(box):
    clear(box)
    (box.top / "log").unlink()
    return record(box)
