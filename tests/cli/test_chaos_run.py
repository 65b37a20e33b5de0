"""ebb chaos run: what each action does to a fleet that runs, and that the verdict says
what is so. What parses, draws and plans without I/O is in tests/unit/test_rehearsal.c."""

import json
import os
import re
import shlex
import shutil
import signal
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ebbcli import HELD, tree, wait_for_lines
from ebbtest import ROOT, wait_until

COUNT = 12
PIPELINE = """version: 1
name: nums
params: {pause: "0.3"}
stages:
  parse:
    input: {count: %d}
    run: 'echo {} >>"$EBBTEST_LOG"; sleep ${pause}; seq {} | sort -r; echo {}'
    output: out/{}.txt
  total:
    input: [{stage: parse}]
    shard: {by: all}
    run: cat
    output: total.txt
""" % COUNT
GOOD = {"finished": "ok", "lost": "ok", "twice": "ok", "bytes": "ok", "manifests": "ok",
        "left-running": "ok", "disturbed": "ok"}


def numbers(n):
    return "".join("%s\n" % line for line in sorted(map(str, range(1, n + 1)), reverse=True)) + \
        "%d\n" % n


def write_expected(folder):
    """What the pipeline comes to, from its definition."""
    (folder / "out").mkdir(parents=True)
    for n in range(COUNT):
        (folder / "out" / ("%d.txt" % n)).write_text(numbers(n))
    (folder / "total.txt").write_text("".join(numbers(n) for n in range(COUNT)))


@pytest.fixture
def nums(box):
    """A box with the pipeline in p/, what it comes to in ../right, and a folder of its
    own for what ebb makes meanwhile."""
    box.env["LC_ALL"] = "C"
    box.tmp = box.top / "tmp"
    box.tmp.mkdir()
    box.env["TMPDIR"] = str(box.tmp)
    box.write("p/nums.yaml", PIPELINE)
    write_expected(box.top / "right")
    return box


def rehearse(box, *args, code=0, file="p/nums.yaml", right=True, seconds=28):
    """The verdict as JSON, with text and folder looked at."""
    path = box.top / "verdict.json"
    reference = ["--reference", str(box.top / "right")] if right else []
    r = box.ebb("chaos", "run", *([file] if file else []), *reference, "--json", str(path), *args,
                code=code, seconds=seconds)
    v = json.loads(path.read_text())
    text = r.out.decode()
    failed = {c["name"] for c in v["checks"] if c["result"] == "failed"}
    word = "ok" if code == 0 else "INCONCLUSIVE" if failed == {"disturbed"} else "FAILED"
    assert text.startswith("verdict: %s\n" % word), text
    assert v["ebb_chaos"] == 1 and v["ok"] == (code == 0)
    assert v["inconclusive"] == (word == "INCONCLUSIVE")
    assert str(v["seed"]) in text
    box.wait_alone(1)
    return v


def results(v):
    return {c["name"]: c["result"] for c in v["checks"]}


def counts(v):
    return {kind: (c["done"], c["heard"], c["missed"]) for kind, c in v["interruptions"].items()
            if c["done"]}


def text_of(v, name):
    return next(c["text"] for c in v["checks"] if c["name"] == name)


@pytest.mark.parametrize("targets, machines, hit", [("PERCENT(50)", 3, 2), ("ALL", 2, 2)])
def test_notices(nums, targets, machines, hit):
    before = tree(nums.root)
    v = rehearse(nums, "--cloud", "gcp", "--at", "200ms", "--targets", targets, "--workers",
                 machines, "--notice-window", "8s", "--set", "pause=0.7")
    assert results(v) == GOOD
    assert counts(v) == {"notice": (hit, hit, 0)}
    assert v["machines"] == machines and len({b["machine"] for b in v["blows"]}) == hit
    assert all(0 <= b["heard_ms"] <= b["safe_ms"] <= b["given_ms"] == 8000 for b in v["blows"])
    assert v["safe_ms"]["n"] == hit
    assert tree(nums.root) == before, "the user's own folder was touched"
    assert os.listdir(nums.tmp) == [], "the private folder is left"


@pytest.mark.parametrize("options, want", [
    (("--cloud", "azure", "--says", "stop", "--at", "0ms"), {"notice": (1, 1, 0)}),
    (("--action", "rebalance", "--cloud", "aws", "--at", "0ms", "--set", "pause=0.6"), {"rebalance": (1, 1, 0)}),
    (("--action", "hibernate", "--cloud", "aws", "--at", "0ms", "--for", "300ms", "--set", "pause=0.6"),
     {"hibernate": (1, 1, 0)}),
    (("--action", "capacity", "--cloud", "gcp", "--at", "200ms", "--for", "2s"),
     {"capacity": (2, 2, 0)}),
    (("--action", "kill", "--at", "300ms"), {"kill": (1, 0, 0)}),
    (("--action", "freeze", "--at", "300ms", "--for", "400ms"), {"freeze": (1, 0, 0)}),
])
def test_each_action(nums, options, want):
    v = rehearse(nums, "--workers", "2", "--replace-after", "100ms", *options)
    assert results(v) == GOOD
    assert counts(v) == want


def test_kills_again_and_again(nums):
    v = rehearse(nums, "--action", "kill", "--targets", "COUNT(1)", "--every", "400ms", "--jitter",
                 "50ms", "--seed", "7", "--replace-after", "100ms", "--workers", "3")
    assert results(v) == GOOD and v["seed"] == 7
    n = counts(v)["kill"][0]
    assert n >= 3 and v["instances"] > 3
    assert len({b["pid"] for b in v["blows"]}) == n, "a worker was killed twice"
    assert v["lost_ms"] > 0


def test_a_frozen_worker_loses_its_shards(nums):
    """It stands still for longer than its lease: others do what it had, and it does not
    write into that when it wakes."""
    v = rehearse(nums, "--action", "freeze", "--targets", "COUNT(1)", "--at", "200ms", "--for", "4s",
                 "--lease", "600ms", "--workers", "2")
    assert results(v) == GOOD and counts(v) == {"freeze": (1, 0, 0)}
    assert v["lost_ms"] > 0


def test_a_trace(nums):
    nums.write("trace.json", '{"metadata": {"gap_seconds": 600}, "data": [2, 1, 0, 0, 2]}')
    v = rehearse(nums, "--trace", "trace.json", "--speed", "600", "--cloud", "gcp", "--workers", "2",
                 "--replace-after", "0s", "--set", "pause=0.4")
    assert results(v) == GOOD
    assert counts(v) == {"trace": (2, 2, 0)}
    assert [b["machine"] for b in v["blows"]] == [2, 1]
    assert v["instances"] == 4


def test_a_window_that_is_too_short(nums):
    """What it runs does not stop when it is told to: at the deadline the machine is gone,
    with all that ran on it."""
    nums.write("p/deaf.yaml", PIPELINE.replace("sleep ${pause}", "trap '' TERM; sleep ${pause}")
               .replace("run: 'echo {}", "run: \"echo {}").replace("echo {}'", "echo {}\"")
               .replace('"$EBBTEST_LOG"', "$EBBTEST_LOG"))
    v = rehearse(nums, "--cloud", "gcp", "--at", "1100ms", "--notice-window", "100ms", "--workers", "2",
                 "--targets", "COUNT(1)", "--set", "pause=0.8", file="p/deaf.yaml")
    assert results(v) == GOOD
    assert v["interruptions"]["notice"]["missed"] == 1
    assert v["lost_ms"] > 0 and v["instances"] == 3


def test_bytes_that_differ(nums):
    nums.write("p/nums.yaml", PIPELINE.replace("echo {}'", "echo {}; date +%N'"))
    v = rehearse(nums, "--action", "kill", "--at", "100ms", code=1, right=False)
    assert results(v) == dict(GOOD, bytes="failed")
    assert "out/0.txt has " in text_of(v, "bytes") and "total.txt" not in text_of(v, "finished")
    kept = Path(v["folder"])
    assert (kept / "out/total.txt").exists() and (kept / "ref/total.txt").exists()


def test_not_finished(nums):
    nums.hold()
    nums.write("p/nums.yaml", PIPELINE.replace("sleep ${pause}", HELD))
    junit = nums.top / "j.xml"
    v = rehearse(nums, "--action", "kill", "--at", "0ms", "--timeout", "1500ms", "--junit", str(junit),
                 code=1)
    want = dict(GOOD, finished="failed", lost="failed", bytes="failed")
    assert results(v) == want
    assert "--timeout" in text_of(v, "finished")
    suite = ET.parse(junit).getroot()
    assert suite.tag == "testsuite" and suite.get("failures") == "3" and suite.get("tests") == "7"
    failed = [c.get("name").split(":")[0] for c in suite.iter("testcase") if c.find("failure") is not None]
    assert failed == ["finished", "lost", "bytes"]
    assert "verdict: FAILED" in suite.find("system-out").text


def test_failing_shards(nums):
    nums.write("p/nums.yaml", PIPELINE.replace("sleep ${pause}", "sleep ${pause}; test {} != 3")
               .replace("    output: out", "    retry: {failures: 1}\n    output: out"))
    v = rehearse(nums, "--action", "kill", "--at", "300ms", code=1)
    assert results(v)["finished"] == results(v)["lost"] == "failed"
    json_path, junit = nums.top / "v.json", nums.top / "j.xml"
    r = nums.ebb("chaos", "run", "p/nums.yaml", "--json", str(json_path), "--junit", str(junit), code=3)
    assert "does not finish without interruptions (exit code 1)" in r.err
    assert r.out == b"" and "failed" in r.err
    v = json.loads(json_path.read_text())
    assert v["ok"] is False and "does not finish without" in v["error"]
    assert "kept: %s\n" % v["folder"] in r.err, "the inner run's words lead there"
    assert (Path(v["folder"]) / "ref-state/ledger.db").exists()
    suite = ET.parse(junit).getroot()
    assert suite.get("errors") == suite.get("tests") == "1"
    assert suite.find("testcase/error").get("message") == v["error"]


def test_over_before_anything_was_done(nums):
    v = rehearse(nums, "--at", "1h", "--set", "pause=0", code=1)
    assert results(v) == dict(GOOD, disturbed="failed")
    assert v["blows"] == [] and "--at" in text_of(v, "disturbed")
    assert v["inconclusive"] and v["cloud"] == "gcp"


def test_what_goes_to_stdout_is_not_compared(nums):
    nums.write("p/nums.yaml", PIPELINE.replace("    run: cat\n    output: total.txt\n", "    run: cat\n"))
    (nums.top / "right/total.txt").unlink()
    r = nums.ebb("chaos", "run", "p/nums.yaml", "--action", "kill", "--at", "100ms", "--reference",
                 str(nums.top / "right"))
    assert "not compared: what goes to stdout, of stage total\n" in r.out.decode()


def test_ctrl_c(nums):
    nums.hold()
    nums.write("p/nums.yaml", PIPELINE.replace("sleep ${pause}", HELD))
    r = nums.begin("chaos", "run", "p/nums.yaml", "--no-reference", "--action", "freeze", "--at", "0ms",
                   "--for", "1h", "--targets", "COUNT(1)")
    wait_until(lambda: "stands still" in r.err(), 10, "one stands still")
    wait_for_lines(nums, 2)
    os.kill(r.pid, signal.SIGINT)
    assert r.wait(10).code == 130
    nums.wait_alone(1)
    assert os.listdir(nums.tmp) == []


def test_killed_it_leaves_nothing_running(nums):
    """Not even what stands still, guardian and all."""
    nums.hold()
    nums.write("p/nums.yaml", PIPELINE.replace("sleep ${pause}", HELD))
    r = nums.begin("chaos", "run", "p/nums.yaml", "--no-reference", "--action", "freeze", "--for", "1h",
                   "--targets", "COUNT(2)", "--at", "300ms")
    wait_until(lambda: r.err().count("stands still") == 2, 10, "two stand still")
    nums.crash(r)


# ---- a run of others ----

def start(box, *options):
    """Two workers of the run, at work on something held."""
    box.hold()
    box.write("p/nums.yaml", PIPELINE.replace("sleep ${pause}", HELD + "; sleep 0.3"))
    runs = [box.begin("run", "p/nums.yaml", "-j1", "--lease", "2s", *options)]
    wait_for_lines(box, 1)
    runs.append(box.begin("worker", "--run", "nums", "--state", "p/.ebb", "-j1", "--lease", "2s", *options))
    wait_for_lines(box, 2)
    return runs


@pytest.mark.parametrize("action, code", [("notice", 75), ("kill", -signal.SIGKILL), ("freeze", 0)])
def test_a_run_that_goes_on(nums, action, code):
    runs = start(nums)
    path = nums.top / "verdict.json"
    chaos = nums.begin("chaos", "run", "--run", "nums", "--state", "p/.ebb", "--action", action, "--at",
                       "0ms", "--targets", "COUNT(1)", "--json", str(path), "--reference",
                       str(nums.top / "right"), *(["--for", "300ms"] if action == "freeze" else []))
    wait_until(lambda: "machine " in chaos.err(), 10, "something was done")
    nums.release()
    r = chaos.wait(20)
    assert r.code == 0, r.err + r.out.decode()
    codes = sorted(run.wait(10).code for run in runs)
    assert codes == sorted([0, code])
    v = json.loads(path.read_text())
    assert results(v) == dict(GOOD, **{"left-running": "skipped"})
    assert counts(v)[action][0] == 1


@pytest.mark.parametrize("action", ["kill", "notice"])
def test_the_last_worker_is_taken_away(nums, action):
    """It says beforehand that this takes everybody, and at once that nobody is left."""
    runs = start(nums)
    chaos = nums.begin("chaos", "run", "--run", "nums", "--state", "p/.ebb", "--action", action, "--at",
                       "0ms", "--targets", "ALL")
    wait_until(lambda: "nobody works on r1 any more" in chaos.err(), 10, "it is said")
    for run in runs:
        assert run.wait(10).code == (75 if action == "notice" else -signal.SIGKILL)
    said = chaos.err()
    assert re.search(r"^\+\S+ m?s this takes every worker of r1 \(2\): ", said, re.M), said
    assert said.index("this takes") < said.index("machine ")
    assert "ebb worker --run r1" in said and "until --timeout (10m" in said
    nums.release()
    nums.ebb("worker", "--run", "nums", "--state", "p/.ebb", "--lease", "2s")
    r = chaos.wait(20)
    assert r.code == 0, r.err
    assert r.err.count("nobody works on") == 1


def test_one_of_two_is_not_all(nums):
    runs = start(nums)
    chaos = nums.begin("chaos", "run", "--run", "nums", "--state", "p/.ebb", "--action", "kill", "--at",
                       "0ms", "--targets", "COUNT(1)")
    wait_until(lambda: "killed" in chaos.err(), 10, "one is killed")
    nums.release()
    r = chaos.wait(20)
    assert r.code == 0 and "nobody" not in r.err and "every worker" not in r.err, r.err
    for run in runs:
        run.wait(10)


def test_nothing_to_interrupt(nums):
    err = nums.ebb("chaos", "run", "--run", "nums", "--state", "nowhere", code=2).err
    assert "no state folder" in err
    nums.ebb("run", "p/nums.yaml", "--set", "pause=0")
    err = nums.ebb("chaos", "run", "--run", "nums", "--state", "p/.ebb", code=2).err
    assert "nobody works on r1 now" in err
    for wrong in (("--action", "hibernate"), ("--action", "capacity"), ("--trace", "x"), ("--workers", "2")):
        nums.ebb("chaos", "run", "--run", "nums", "--state", "p/.ebb", *wrong, code=2)


# ---- what is wrong ----

@pytest.mark.parametrize("options, says", [
    (("--targets", "percent(50)"), "PERCENT(N)"), (("--targets", "PERCENT(0)"), "from 1 to 100"),
    (("--targets", "COUNT()"), "COUNT(N)"), (("--targets", "ALL "), "ALL"),
    (("--action", "explode"), "notice|rebalance"), (("--action", "kill", "--for", "3s"), "no \"for\""),
    (("--every", "5s", "--random", "5s"), "both"), (("--jitter", "5s"), "less than"),
    (("--action", "rebalance", "--cloud", "azure"), "cloud aws"), (("--action", "trace"), "the file"),
    (("--trace", "none.json"), "none.json"), (("--speed", "2"), "belong to a trace"),
    (("--lifecycle", "on-demand"), "nobody takes an on-demand machine away"),
    (("--real-windows", "--notice-window", "3s"), "exclude"), (("--set", "none=1"), "no such parameter"),
    (("--pool", "a b"), "no name"), (("--state", "x"), "--run NAME"),
    (("--reference", "none"), "--reference none: No such file"), (("--reference", "p/nums.yaml"), "is no folder"),
    (("--json", "none/v.json"), "--json: none/v.json cannot be made: none: No such file"),
    (("--junit", "p"), '"p" is no name of a file'), (("--junit", ""), '"" is no name'),
    (("--workers", "65"), "64"), (("--folder", "nowhere"), "nowhere"),
])
def test_wrong_words(nums, options, says):
    r = nums.ebb("chaos", "run", "p/nums.yaml", *options, code=2)
    assert says in r.err and r.out == b""
    assert os.listdir(nums.tmp) == []


@pytest.mark.parametrize("text, says", [
    ("actions: [{do: kill}]", 'bad.yaml:1:1: "pipeline" is missing'),
    ("pipeline: p/nums.yaml", '"actions" is missing'),
    ("pipeline: p/nums.yaml\nactions:\n  - {do: kil}", 'bad.yaml:3:10: "do" is "kil"; expected one of'),
    ("pipeline: p/nums.yaml\nactions:\n  - {at: 2s}", 'bad.yaml:3:5: "do" is missing'),
    ("pipeline: p/nums.yaml\nactions:\n  - do: kill\n    targets: HALF", "bad.yaml:4:14: \"targets\" is \"HALF\""),
    ("pipeline: p/nums.yaml\nactions:\n  - {do: kill, att: 2s}", 'did you mean "at"?'),
    ("pipeline: p/nums.yaml\nactions:\n  - {do: kill, at: 2}", "has no unit"),
    ("pipeline: p/nums.yaml\nactions:\n  - {do: kill, for: 2s}", "bad.yaml:3:5: kill: there is no"),
    ("pipeline: p/nums.yaml\nactions: kill", "expected a list"),
    ("pipeline: p/nums.yaml\nfleet: [4]\nactions: [{do: kill}]", "expected a map"),
    ("pipeline: p/nums.yaml\nfleet: [{workers: 2}]\nactions: [{do: kill}]", '"pool" is missing'),
    ("pipeline: p/nums.yaml\nfleet: [{pool: a}, {pool: a}]\nactions: [{do: kill}]", 'bad.yaml:2:27: the pool "a" is there twice, first in line 2'),
    ("pipeline: p/nums.yaml\nfleet: [{pool: spot}]\nactions: [{do: kill, pool: spt}]",
     'bad.yaml:3:28: there is no pool "spt" in the fleet; did you mean "spot"?'),
    ("pipeline: p/nums.yaml\nfleet: [{pool: spot}]\nactions: [{do: kill, pool: x}, {do: kil}]",
     'bad.yaml:3:28: there is no pool "x" in the fleet; expected one under fleet:, such as "spot"'),
    ("pipeline: p/nums.yaml\nfleet: [{pool: spot}]\nactions: [{do: kill, pool: x}, {do: kil}]",
     'bad.yaml:3:37: "do" is "kil"'),
    ("pipeline: p/nums.yaml\nfleet: [{pool: a}]\nactions: [{do: kill, zone: b}]", "no machine of the fleet"),
    ("pipeline: p/nums.yaml\nactions: [{do: kill, pool: b}]", "no machine of the fleet"),
    ("pipeline: p/nums.yaml\ncloud: ibm\nactions: [{do: kill}]", "aws, gcp, azure"),
    ("pipeline: none.yaml\nactions: [{do: kill}]", "none.yaml"),
    ("pipeline: p/nums.yaml\nactions: [{do: kill, at: 1s}", "bad.yaml:"),
])
def test_bad_experiments(nums, text, says):
    nums.write("bad.yaml", text + "\n")
    assert says in nums.ebb("chaos", "run", "bad.yaml", code=2).err


def test_output_names_that_cannot_be_moved(nums):
    nums.write("p/nums.yaml", PIPELINE.replace("output: total.txt", "output: /srv/total.txt"))
    for line in (["chaos", "run", "p/nums.yaml"], ["run", "p/nums.yaml", "--output-root", "o"]):
        assert 'nums.yaml:13:13: the output name "/srv/total.txt" is absolute' in nums.ebb(*line, code=2).err
    assert nums.names() == ["p"]


# ---- as it is used ----

@pytest.fixture
def sections(nums):
    shutil.copytree(ROOT / "examples/sections", nums.root, dirs_exist_ok=True)
    shutil.copy(nums.root / "sample-packages.txt", nums.root / "packages.txt")
    return nums


def test_the_demo_with_half_of_its_machines_taken_away(sections):
    before = tree(sections.root)
    v = rehearse(sections, "--targets", "PERCENT(50)", "--cloud", "gcp", "--set", "size=6KiB", "--set",
                 "pause=0.3", file="sections.yaml", right=False)
    assert results(v) == GOOD
    assert counts(v) == {"notice": (2, 2, 0)}
    assert v["reference_ms"] > 0
    assert tree(sections.root) == before


def test_the_line_of_the_readme(sections):
    """As it stands, where the whole file is two shards."""
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if "ebb chaos run" in line)
    r = sections.ebb(*shlex.split(line)[1:])
    assert r.out.startswith(b"verdict: ok\n"), r.out


def test_the_example_of_an_experiment(sections):
    v = rehearse(sections, file="chaos.yaml", right=False)
    assert results(v) == GOOD
    assert counts(v)["notice"] == (2, 2, 0) and counts(v)["kill"][0] >= 1


def test_output_root(sections):
    sections.ebb("run", "sections.yaml", "--set", "size=6KiB", "--output-root", "else/where")
    moved = sections.read("else/where/sections.tsv")
    assert not sections.path("sections.tsv").exists()
    sections.ebb("run", "sections.yaml", "--set", "size=6KiB", "--state", "other")
    assert sections.read("sections.tsv") == moved
    err = sections.ebb("run", "sections.yaml", "--output-root", "a{}b", code=2).err
    assert "replacement string" in err
    assert "a folder" in sections.ebb("run", "sections.yaml", "--output-root", "", code=2).err
