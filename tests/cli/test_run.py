"""ebb run: stages, what they read, generations, checkpoints, failures."""

import hashlib
import os
import signal
import time
from collections import Counter

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_lines

SECTIONS = """version: 1
name: sizes
params: {who: all}
stages:
  parse:
    input: data/*.txt
    shard: {by: bytes, size: 20B, records: paragraphs}
    run: 'echo parse >>"$EBBTEST_LOG"; grep ^Section'
  total:
    input: [{stage: parse}]
    run: 'echo total >>"$EBBTEST_LOG"; sort | uniq -c'
    output: out/${who}.txt
"""


def fill(box, n=3):
    for i in range(n):
        box.write("data/%d.txt" % i, "".join("Package: p%d\nSection: s%d\n\n" % (k, k % 3)
                                             for k in range(i, i + 4)))


def stage(text, head="version: 1\nname: one\nstages:\n  s:\n"):
    return head + "".join("    %s\n" % line for line in text.strip().splitlines())


def run(box, text, *args, **how):
    box.write("p.yaml", text)
    return box.ebb("run", "p.yaml", *args, **how)


def test_two_stages(box):
    fill(box)
    r = run(box, SECTIONS)
    assert r.out == b"" and "finished" in r.err
    assert box.read("out/all.txt") == b"      4 Section: s0\n      4 Section: s1\n      4 Section: s2\n"
    assert Counter(box.ran()) == {"parse": 12, "total": 1}


def test_finished_and_unchanged_is_nothing_to_do(box):
    fill(box)
    run(box, SECTIONS)
    box.forget()
    at = os.stat(box.path("out/all.txt")).st_mtime_ns
    r = box.ebb("run", "p.yaml")
    assert "nothing to do" in r.err and not box.ran()
    assert os.stat(box.path("out/all.txt")).st_mtime_ns == at
    assert box.status()[0]["generation"] == 1


def test_only_what_changed_is_run_again(box):
    fill(box)
    run(box, SECTIONS)
    box.forget()
    box.write("data/1.txt", box.read("data/1.txt") + b"Package: new\nSection: s9\n\n")
    box.ebb("run", "p.yaml")
    assert Counter(box.ran()) == {"parse": 5, "total": 1}
    assert box.read("out/all.txt").endswith(b"      1 Section: s9\n")


@pytest.mark.parametrize("what", ["output", "command", "file", "env", "fresh", "stage"])
def test_what_begins_a_generation(box, what):
    fill(box, 1)
    text = SECTIONS.replace("name: sizes", "name: sizes\nfiles: [f]")
    box.write("f", "1")
    run(box, text)
    box.forget()
    args = []
    if what == "output":
        box.path("out/all.txt").unlink()
    elif what == "command":
        text = text.replace("uniq -c", "uniq  -c")
    elif what == "file":
        box.write("f", "2")
    elif what == "env":
        text = text.replace("    run: 'echo total", "    env: {A: b}\n    run: 'echo total")
    elif what == "stage":
        text = text.replace("total:", "sum:")
    else:
        args = ["--fresh"]
    run(box, text, *args)
    parsed = 4 if what in ("file", "fresh") else 0
    assert Counter(box.ran()) == Counter({"parse": parsed, "total": 1}) - Counter()
    assert box.status()[0]["generation"] == 2
    assert box.path("out/all.txt").exists()


def test_parameters_are_other_runs(box):
    fill(box, 1)
    run(box, SECTIONS)
    run(box, SECTIONS, "--set", "who=it's ${who} \"x\"")
    assert box.read("out/it's ${who} \"x\".txt") == box.read("out/all.txt")
    assert len(box.status()) == 2


def test_killed_anywhere_goes_on(box):
    fill(box, 2)
    held = SECTIONS.replace("grep ^Section", HELD + "; grep ^Section")
    box.hold()
    box.write("p.yaml", held)
    running = box.begin("run", "p.yaml", "-j2")
    wait_for_lines(box, 2)
    box.crash(running)
    box.release()
    box.ebb("run", "p.yaml", "-j2")
    assert 8 <= Counter(box.ran())["parse"] <= 10
    assert box.read("out/all.txt").count(b"Section") == 3


@pytest.mark.parametrize("how, want", [
    ("run: [cat, '{}']", b"one\ntwo\n"),
    ("run: [cat]", b"one\ntwo\n"),
    ("run: cat {}\ninput_as: path", b"one\ntwo\n"),
    ("run: cat\ninput_as: stdin", b"one\ntwo\n"),
    ("run: 'xargs cat <{}'\ninput_as: list", b"one\ntwo\n"),
    ("run: 'xargs cat <\"$EBB_INPUT\"'\ninput_as: list", b"one\ntwo\n"),
    ("run: 'echo {} | sed s,.*/,,'\ninput_as: url", b"1.in\n2.in\n"),
    ("run: cat\nshard: {by: all}", b"one\ntwo\n"),
    ("run: cat {}\nshard: {by: all}", b"one\ntwo\n"),
    ("run: 'xargs cat <{}'\ninput_as: list\nshard: {by: all}", b"one\ntwo\n"),
    ("run: cat {}\nshard: {by: files, size: 1KiB}", b"one\ntwo\n"),
    ("run: cat\nshard: {by: files, size: 1KiB}", b"one\ntwo\n"),
    ("run: cat\nshard: {by: bytes, size: 1B}", b"one\ntwo\n"),
])
def test_how_input_comes(box, how, want):
    box.write("1.in", "one\n")
    box.write("2.in", "two\n")
    assert run(box, stage("input: '*.in'\n" + how)).out == want


def test_items_that_are_no_files_on_stdin(box):
    box.write("list", "a b\nf\nc\n")
    box.write("f", "in the file\n")
    out = run(box, stage("input: [{list: list}, {count: 2}]\nrun: cat\nshard: {by: all}")).out
    assert out == b"a b\nin the file\nc\n0\n1\n"


def test_lists_and_counts(box):
    box.write("list", "a b\nc\n\nc\n")
    assert run(box, stage("input: {list: list}\nrun: [echo, '<{}>']")).out == b"<a b>\n<c>\n<c>\n"
    assert run(box, stage("input: {count: 3}\nrun: echo n{}", "version: 1\nname: two\nstages:\n  s:\n")
               ).out == b"n0\nn1\nn2\n"
    assert run(box, stage("input: {list: list}\nrun: cat", "version: 1\nname: three\nstages:\n  s:\n")
               ).out == b"a b\nc\nc\n"


def test_a_stage_maps_over_the_one_before(box):
    r = run(box, """version: 1
name: chain
stages:
  b:
    input: {stage: a}
    shard: {by: files}
    run: tr 0-9 a-j
  a:
    input: {count: 3}
    run: echo {}
""")
    assert r.out == b"a\nb\nc\n"


def test_an_input_that_is_not_there_runs_nothing(box):
    r = run(box, SECTIONS, code=2)
    assert "data/*.txt" in r.err and "p.yaml:" in r.err
    assert not box.ran() and not box.path(".ebb").exists()


def test_secrets_are_nowhere(box):
    box.write("token", "s3cr3t-file\n")
    text = stage("""input: {count: 1}
run: 'echo "$A,$B" | sha256sum | cut -c1-8'
secrets: {A: env:MY_SECRET, B: file:token}""")
    want = hashlib.sha256(b"s3cr3t-env,s3cr3t-file\n").hexdigest()[:8]
    assert run(box, text, MY_SECRET="s3cr3t-env").out.decode().strip() == want
    for folder, _, names in os.walk(box.path(".ebb")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                assert b"s3cr3t" not in f.read(), name


def test_some_may_fail(box):
    text = stage("""input: {count: 10}
run: test {} != 3 && sleep 0.1 && echo {}
retry: {failures: 1}
allow_failed: 10%""")
    r = run(box, text)
    assert r.out.count(b"\n") == 9
    r = run(box, text.replace("one", "none").replace("10%", "0"), "-j1", code=1)
    assert "on_failed" in r.err
    assert box.status()[1]["failed"] == 1 and box.status()[1]["done"] < 9


def test_on_failed_continue(box):
    text = stage("""input: {count: 10}
run: test {} != 3 && echo {}
retry: {failures: 1}
on_failed: continue""")
    r = run(box, text, "-j1", code=1)
    assert box.status()[0]["done"] == 9 and "failed" in r.err


SQUARES = r"""LC_ALL=C
trap : TERM
at=$("$EBB" task offset)
echo "start $at" >>"$EBBTEST_LOG"
while IFS= read -r line; do
	echo "$((line * line))"
	at=$((at + ${#line} + 1))
	sleep 0.01
	if [ -e "${EBB_NOTICE_FILE:-}" ]; then
		"$EBB" task checkpoint "$at" && exit 85
		exit 1
	fi
done
"""
NUMBERS = "".join("%d\n" % n for n in range(1, 121))


@pytest.mark.parametrize("shard, parts", [("{by: files}", 1), ("{by: all}", 1), ("{by: bytes, size: 200B}", 2)])
def test_progress_outlives_stops_and_kills(box, shard, parts):
    box.script("squares.sh", SQUARES)
    box.write("in.txt", NUMBERS)
    box.write("p.yaml", stage("input: in.txt\nshard: %s\nrun: ./squares.sh\noutput: 'out/{#}'" % shard))
    for sig in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        n = len(box.ran())
        running = box.begin("run", "p.yaml", "-j1", EBB=ebbtest.ebb_bin())
        wait_for_lines(box, n + 1)
        time.sleep(0.2)
        os.kill(running.pid, sig)
        r = running.wait(20)
        assert r.code in (75, -9), r.err
    box.ebb("run", "p.yaml", EBB=ebbtest.ebb_bin())
    joined = b"".join(box.read("out/%d" % (i + 1)) for i in range(parts))
    assert joined == b"".join(b"%d\n" % (n * n) for n in range(1, 121))
    starts = [int(line.split()[1]) for line in box.ran()]
    assert max(starts) > 0
    assert box.status()[0]["ended"]["checkpointed"] >= 2


def test_the_folder_comes_back(box):
    box.script("steps.sh", r"""
n=$(cat "$EBB_CHECKPOINT/n" 2>/dev/null || echo 0)
echo "from $n" >>"$EBBTEST_LOG"
while [ "$n" -lt 5 ]; do
	n=$((n + 1))
	mkdir -p "$EBB_CHECKPOINT/sub"
	echo "$n" >"$EBB_CHECKPOINT/n"; echo "$n" >>"$EBB_CHECKPOINT/sub/all"
	"$EBB" task checkpoint || exit 1
	[ "$n" = 3 ] && [ ! -e "$EBBTEST_HOLD.went" ] && { touch "$EBBTEST_HOLD.went"; exit 85; }
done
cat "$EBB_CHECKPOINT/sub/all"
""")
    r = run(box, stage("input: {count: 1}\nrun: ./steps.sh"), EBB=ebbtest.ebb_bin())
    assert r.out == b"1\n2\n3\n4\n5\n"
    assert box.ran() == ["from 0", "from 3"]
    assert not list(box.path(".ebb/runs/r1/checkpoints").iterdir())


def test_85_without_a_checkpoint_is_a_failure(box):
    r = run(box, stage("input: {count: 1}\nrun: exit 85\nretry: {failures: 1}"), code=1)
    assert box.status()[0]["ended"]["failed"] == 1 and "85" in r.err


def test_what_an_exit_means_after_a_stop(box):
    text = stage("""input: {count: 1}
run: 'trap "exit 0" TERM; %s; sleep 20 & wait'
after_stop: {0: done}""" % LOG.replace("{}", "x"))
    box.write("p.yaml", text)
    running = box.begin("run", "p.yaml", "--grace", "2s")
    wait_for_lines(box, 1)
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(10).code == 0
    assert box.status()[0]["done"] == 1


def test_environment(box):
    r = run(box, stage("""input: {count: 2}
run: 'env | grep ^EBB_ | sort'
env: {EXTRA: yes!}"""), "-j1")
    first = dict(line.split("=", 1) for line in r.out.decode().split("EBB_WORKER")[0].splitlines())
    assert first["EBB_CONTRACT"] == "1" and first["EBB_STAGE"] == "s" and first["EBB_INDEX"] == "0"
    assert first["EBB_OFFSET"] == "0" and first["EBB_RUN"] == "r1" and first["EBB_SLOT"] == "0"
    assert os.path.isabs(first["EBB_CONTROL"]) and os.path.isabs(first["EBB_SCRATCH"])


def test_scratch_is_empty_each_time_and_gone_afterwards(box):
    r = run(box, stage("""input: {count: 3}
run: 'ls -A "$EBB_SCRATCH"; mkdir "$EBB_SCRATCH/d"; touch "$EBB_SCRATCH/d/f"; echo "$EBB_SCRATCH" >>"$EBBTEST_LOG"'"""),
            "-j1")
    assert r.out == b"" and len(box.ran()) == 3
    assert not any(os.path.exists(p) for p in box.ran())


@pytest.mark.parametrize("need, most", [("{cpu: 2}", 2), ("{cpu: 4}", 1), ("{cpu: 0.5}", 4), ("{gpu: 1}", 3),
                                        ("{gpu: 2}", 1), ("{memory: 900GiB}", 1)])
def test_no_more_at_once_than_there_is_of_what_they_need(box, need, most):
    text = stage("""input: {count: 6}
run: 'n=$(ls "$EBBTEST_DIR" | wc -l); touch "$EBBTEST_DIR"/{}; ls "$EBBTEST_DIR" | wc -l >>"$EBBTEST_LOG"; sleep 0.2; rm "$EBBTEST_DIR"/{}; echo "${CUDA_VISIBLE_DEVICES-none}"'
resources: %s""" % need)
    (box.top / "here").mkdir()
    r = run(box, text, "-j4", EBBTEST_DIR=box.top / "here", EBB_GPUS=3)
    assert max(int(n) for n in box.ran()) == most
    seen = set(r.out.decode().split())
    if need == "{gpu: 1}":
        assert seen == {"0", "1", "2"}
    elif need == "{gpu: 2}":
        assert seen == {"0,1"}
    else:
        assert seen == {"none"}


def test_a_gpu_that_is_not_there(box):
    assert "GPU" in run(box, stage("input: {count: 1}\nrun: 'true'\nslots: gpu"), code=2, EBB_GPUS=0).err


def test_two_stages_with_one_output_name(box):
    box.write("a.txt", "x")
    err = run(box, """version: 1
name: two
stages:
  a: {input: a.txt, run: cat, output: 'out/{/}'}
  b: {input: a.txt, run: cat, output: 'out/{/}'}
""", code=None).err
    assert "two stages have the same output name, out/a.txt" in err
