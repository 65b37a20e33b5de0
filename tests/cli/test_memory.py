"""resources: {memory: }: what a command may use, where there is a cgroup to hold it to that.

Real commands in real cgroups. They need root and a mounted cgroup2 whose top hands on memory, or can
be made to: a machine of its own, or a container that may write to its cgroups. Where that is missing
they are skipped, and say so; scripts/own-kernel runs them all the same."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import ebbtest
from ebbcli import HELD, wait_for_lines, wait_until

# A command that holds 12 MiB at once, and then says how much that was.
TWELVE = "dd if=/dev/zero bs=12M count=1 iflag=fullblock status=none | wc -c"
# The folder of the command's own cgroup.
OWN = 'own=%s$(sed -n s/^0:://p /proc/self/cgroup)'


def stage(text):
    return "version: 1\nname: one\nstages:\n  s:\n" + \
        "".join("    %s\n" % line for line in text.strip().splitlines())


def mounted():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            yield Path(fields.split()[4])


def folders(top):
    return {Path(where) for where, _, _ in os.walk(top)}


class Place:
    """Where ebb is started: in the hierarchy's root, where processes may be beside what is handed on,
    or in a cgroup of its own, out of which it has to move itself."""

    def __init__(self, top, folder):
        self.top = top
        self.folder = folder
        self.before = folders(folder)

    def enter(self):
        (self.folder / "cgroup.procs").write_text("0")

    def own(self):
        return OWN % self.top

    def left(self):
        return folders(self.folder) - self.before


def make_place(kind, request):
    number = "%d-%s" % (os.getpid(), re.sub(r"\W", "-", request.node.name))
    if os.geteuid() != 0:
        pytest.skip("NO ROOT: not tried that a command is held to its memory")
    for top in mounted():
        try:
            (top / "cgroup.subtree_control").write_text("+memory")
        except OSError:
            continue
        if kind == "root" and (top / "cgroup.type").exists():
            pytest.skip("NOT THE ROOT of the cgroups: not tried that ebb stays in it")
        folder = top if kind == "root" else top / ("ebb-test-" + number)
        folder.mkdir(exist_ok=True)
        return Place(top, folder)
    pytest.skip("NO CGROUP V2 WITH MEMORY that may be written to: not tried that a command is held to its "
                "memory, that its end says so, that the next attempt may use more, and that nothing is left")
    return None


def remove(place):
    if place is not None and place.folder != place.top:
        for path in sorted(folders(place.folder), reverse=True):
            path.rmdir()


@pytest.fixture(params=["root", "own"])
def place(request):
    made = make_place(request.param, request)
    yield made
    remove(made)


@pytest.fixture
def own_place(request):
    made = make_place("own", request)
    yield made
    remove(made)


@pytest.fixture
def root_place(request):
    yield make_place("root", request)


def run(box, where, text, *args, code=0, **how):
    box.write("p.yaml", stage(text))
    r = box.begin("run", "p.yaml", *args, before=where.enter, **how).wait(60)
    r.check_words()
    assert r.code == code, r.err
    return r


def causes(shard):
    return [a["cause"] for a in shard["attempts"]]


def at_limit(note, size):
    linux = tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2])
    peak = " (peak %s)" % size if linux >= (5, 19) else ""
    return note == "killed at its memory limit of %s%s" % (size, peak)


@pytest.mark.limit(120)
def test_second_try_may_use_twice_as_much(box, place):
    r = run(box, place, "input: {count: 2}\nrun: 'echo tried >&2; %s; echo tried >>\"$EBBTEST_LOG\"'\n"
            "resources: {memory: 10MiB}\nretry: {backoff: 10ms..20ms}\noutput: out/{}" % TWELVE)
    assert box.read("out/0") == box.read("out/1") == b"%d\n" % (12 << 20)
    assert len(box.ran()) == 2 and "held to it" not in r.err
    for shard in box.shards():
        assert causes(shard) == ["out-of-memory", "done"]
        assert at_limit(shard["attempts"][0]["note"], "10.0 MiB"), shard
    logs = box.ebb("logs", "--all", "1").out.decode()
    assert "attempt 1: out-of-memory, signal 9" in logs and "killed at its memory limit of 10.0 MiB" in logs
    assert logs.count("tried") == 2
    assert not place.left()


@pytest.mark.limit(120)
def test_failed_for_good(box, place):
    r = run(box, place, "input: {count: 1}\nrun: '(%s) || true; echo survived'\nresources: {memory: 4MiB}\n"
            "retry: {out_of_memory: 2, backoff: 10ms..20ms}\noutput: out/{}" % TWELVE, code=1)
    assert "killed at its memory limit of 8.0 MiB" in r.err
    assert causes(box.shards()[0]) == ["out-of-memory"] * 2
    assert not place.left()


def test_what_it_may_use_ends_with_what_there_is(box, own_place):
    """It lowers its own limit and runs into that, so that nobody has to hold so much."""
    (own_place.folder / "memory.max").write_text("600M")
    run(box, own_place, "input: {count: 1}\nrun: '%s; cat $own/memory.max >>\"$EBBTEST_LOG\"; echo 3M >$own/memory.max; %s'\n"
        "resources: {memory: 200MiB}\nretry: {out_of_memory: 4, backoff: 10ms..20ms}"
        % (own_place.own(), TWELVE), code=1)
    assert [int(n) >> 20 for n in box.ran()] == [200, 400, 600, 600]


def test_as_much_as_all_that_ask_may_use_at_once(box, own_place):
    """Two of 200 MiB fit into 600 beside each other, two of 400 do not."""
    (own_place.folder / "memory.max").write_text("600M")
    (box.top / "here").mkdir()
    run(box, own_place, "input: {count: 2}\nrun: '%s; touch \"$EBBTEST_DIR\"/{}; while [ $EBB_ATTEMPT = 1 ] && "
        "[ $(ls \"$EBBTEST_DIR\" | wc -l) -lt 2 ]; do sleep 0.05; done; if [ $EBB_ATTEMPT = 1 ]; then sleep 0.3; "
        "echo 3M >$own/memory.max; %s; fi; echo in >>\"$EBBTEST_LOG\"; sleep 0.5; echo out >>\"$EBBTEST_LOG\"'\n"
        "resources: {memory: 200MiB, cpu: 0.1}\nretry: {backoff: 10ms..20ms}" % (own_place.own(), TWELVE),
        "-j4", EBBTEST_DIR=box.top / "here")
    assert all(causes(s) == ["out-of-memory", "done"] for s in box.shards())
    assert box.ran() == ["in", "out", "in", "out"]


@pytest.mark.limit(120)
def test_a_limit_further_up(box, own_place):
    """Its own is not what it ran into."""
    (own_place.folder / "memory.max").write_text("60M")
    run(box, own_place, "input: {count: 1}\nrun: '%s'\nresources: {memory: 500MiB}\n"
        "retry: {out_of_memory: 1}" % TWELVE.replace("12M", "64M"), code=1)
    attempt = box.shards()[0]["attempts"][0]
    assert attempt["cause"] == "out-of-memory"
    assert "a cgroup above it had no more memory, below its own limit of 500.0 MiB" in attempt["note"]
    assert not own_place.left()


def test_a_kill_is_not_taken_for_it(box, place):
    """One at its limit, and another one that is killed beside it, with a limit or without."""
    text = stage("input: {list: l.txt}\nrun: 'if [ {} = big ]; then %s; else sleep 0.5; kill -9 $$; fi'\n"
                 "resources: {memory: 4MiB, cpu: 0.1}\nretry: {failures: 1, out_of_memory: 1}\n"
                 "on_failed: continue" % TWELVE)
    text += "  free:\n    input: {count: 1}\n    run: 'sleep 0.6; kill -9 $$'\n    retry: {failures: 1}\n" \
        "    resources: {cpu: 0.1}\n    on_failed: continue\n"
    box.write("p.yaml", text)
    box.write("l.txt", "big\nsmall\n")
    assert box.begin("run", "p.yaml", "-j4", before=place.enter).wait(60).code == 1
    found = {s["name"]: causes(s) for s in box.shards()}
    assert found == {"big": ["out-of-memory"], "small": ["failed"], "0": ["failed"]}
    assert not place.left()


def test_only_who_asks_has_a_cgroup(box, root_place):
    says = "input: {count: 2}\nrun: 'echo {} $(sed -n s/^0:://p /proc/self/cgroup) >>\"$EBBTEST_LOG\"'\n"
    text = stage(says) + stage(says + "resources: {memory: 8MiB}").partition("stages:\n")[2].replace(" s:", " t:")
    box.write("p.yaml", text.replace("echo {}", "echo free", 1))
    assert box.begin("run", "p.yaml", before=root_place.enter).wait(30).code == 0
    ran = sorted(box.ran())
    assert ran[2:] == ["free /", "free /"] and ran[0] != ran[1]
    assert all(re.fullmatch(r"[01] /ebb-[0-9a-f]{32}/[0-9]+", line) for line in ran[:2])


def guardian_of(pid):
    for p in ebbtest.pids():
        try:
            if Path("/proc/%d/comm" % p).read_text() == "ebb-guardian\n" and \
                    "\nPPid:\t%d\n" % pid in Path("/proc/%d/status" % p).read_text():
                return p
        except OSError:
            pass
    return None


HELD_STAGE = "input: {count: 2}\nrun: 'echo begun >>\"$EBBTEST_LOG\"; (%s) & %s; wait'\nresources: {memory: 8MiB}" \
    % (HELD, HELD)


def begin_held(box, place):
    box.hold()
    box.write("p.yaml", stage(HELD_STAGE))
    running = box.begin("run", "p.yaml", "-j2", before=place.enter)
    wait_for_lines(box, 2, 30)
    assert len([p for p in place.left() if p.name in "12"]) == 2
    return running


@pytest.mark.parametrize("whom", ["worker", "guardian"])
def test_nothing_is_left_after_kill_9(box, place, whom):
    running = begin_held(box, place)
    os.kill(running.pid if whom == "worker" else guardian_of(running.pid), signal.SIGKILL)
    running.proc.wait(10)
    box.wait_alone(5)
    wait_until(lambda: not place.left(), 5, "no cgroup is left")
    box.release()
    run(box, place, HELD_STAGE)
    assert len(box.ran()) == 4 and not place.left()


def test_the_next_start_removes_what_two_dead_ones_left(box, root_place):
    running = begin_held(box, root_place)
    guardian = guardian_of(running.pid)
    os.kill(guardian, signal.SIGSTOP)
    os.kill(running.pid, signal.SIGKILL)
    os.kill(guardian, signal.SIGKILL)
    running.proc.wait(10)
    assert root_place.left()
    box.release()
    run(box, root_place, HELD_STAGE)
    assert not root_place.left()
    box.wait_alone(5)


def test_interrupted_and_started_again(box, place):
    running = begin_held(box, place)
    os.kill(running.pid, signal.SIGINT)
    wait_until(lambda: "stopping" in running.err(), 10, "the drain")
    os.kill(running.pid, signal.SIGINT)
    running.proc.wait(20)
    assert not place.left()
    box.release()
    run(box, place, HELD_STAGE)
    assert not place.left()


@pytest.mark.limit(60)
def test_ebb_in_ebb(box, place):
    """What runs out of memory inside is the inner run's affair."""
    box.write("inner.yaml", stage("input: {count: 1}\nrun: '%s'\nresources: {memory: 4MiB}\n"
                                  "retry: {out_of_memory: 1}" % TWELVE))
    run(box, place, "input: {count: 1}\nrun: [%s, run, inner.yaml, --state, inner]\nresources: {memory: 300MiB}\n"
        "retry: {failures: 1}" % ebbtest.ebb_bin(), code=1)
    assert causes(box.shards()[0]) == ["failed"]
    assert causes(box.shards("--state", "inner")[0]) == ["out-of-memory"]
    assert not place.left()


def test_batches(box, place):
    box.write("in.txt", "a\nb\nc\nd\n")
    run(box, place, "input: in.txt\nshard: {by: bytes, size: 1MiB}\nbatch: 1\noutput: out.txt\n"
        "resources: {memory: 8MiB}\nretry: {backoff: 10ms..20ms}\n"
        "run: 'read x; if [ $x$EBB_ATTEMPT = c1 ]; then %s; fi; echo $x'" % TWELVE)
    assert box.read("out.txt") == b"a\nb\nc\nd\n"
    assert causes(box.shards()[0])[-2:] == ["out-of-memory", "done"] or \
        causes(box.shards()[0]) == ["checkpointed", "done"]
    assert not place.left()


def test_who_else_is_in_the_cgroup_stays_there(box, own_place):
    with subprocess.Popen(["sleep", "60"], preexec_fn=own_place.enter) as other:
        r = run(box, own_place, "input: {count: 2}\nrun: 'true'\nresources: {memory: 4MiB}")
        assert r.err.count("nothing is held to it") == 1
        assert "holds other processes too (such as %d)" % other.pid in r.err
        assert (own_place.folder / "cgroup.procs").read_text() == "%d\n" % other.pid
        other.kill()
    assert not own_place.left()


def test_doctor_says_so(box, place):
    r = box.begin("doctor", before=place.enter).wait(10)
    assert "held to resources: {memory: } by cgroups in %s\n" % place.folder in r.out.decode()
    assert not place.left()


# ---- where there is none ----

def test_goes_on_without(box, not_root):
    """Said once; and it still decides what runs at once."""
    os.chmod(box.top, 0o777)
    os.chmod(box.root, 0o777)
    os.chmod(box.log, 0o666)
    box.write("p.yaml", stage("input: {count: 3}\nrun: '%s >>\"$EBBTEST_LOG\"'\nresources: {memory: 1MiB}" % TWELVE))
    r = box.begin("run", "p.yaml", before=not_root).wait(60)
    if "nothing is held to it" not in r.err:
        pytest.skip("a cgroup is delegated to this user: not tried what happens without one")
    assert r.code == 0 and r.err.count("nothing is held to it") == 1
    assert box.ran() == ["%d" % (12 << 20)] * 3
    assert "nothing is held to it" in box.begin("doctor", before=not_root).wait(10).out.decode()


def test_says_nothing_where_nobody_asks(box):
    assert "memory" not in box.map("true", ":::", "1").err
