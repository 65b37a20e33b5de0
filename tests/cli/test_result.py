"""--result FILE: what became of a start, for programs."""

import json
import os
import shutil
import signal

import pytest

from ebbcli import HELD, LOG, wait_for_lines

KEYS = {"ebb_result", "exit", "state", "run", "error", "manifest", "failures"}
COUNTS = {"total", "done", "failed", "attempts", "times"}
OWN = {"wall_ms", "interruptions"}


def result(box, path="r.json"):
    value = json.loads(box.read(path))
    assert value["ebb_result"] == 1 and KEYS <= set(value)
    assert set(value) <= KEYS | COUNTS | OWN
    return value


def test_finished(box):
    box.map("--result", "r.json", "--out", "{}.o", "echo {}", ":::", "a", "b")
    value = result(box)
    assert set(value) == KEYS | COUNTS | OWN
    assert (value["state"], value["exit"], value["run"]) == ("finished", 0, "r1")
    assert (value["total"], value["done"], value["failed"], value["attempts"]) == (2, 2, 0, 2)
    assert value["error"] is None and value["failures"] == [] and value["interruptions"] == 0
    assert os.path.exists(box.root / value["manifest"])
    assert value["times"]["slot_ms"] > 0 and value["times"]["net_ms"] <= value["wall_ms"] * 64


def test_failed(box):
    box.map("--result", "r.json", "--retries", "1", "echo {} >&2; exit 3", ":::", "x\ty", code=1)
    value = result(box)
    assert (value["state"], value["exit"], value["manifest"]) == ("failed", 1, None)
    (failure,) = value["failures"]
    assert failure == {"name": "x\ty", "cause": "failed", "exit": 3, "signal": 0, "tries": 1,
                       "note": "x\\ty"}


def test_drained_and_running(box):
    box.hold()
    args = ["-j1", "--grace", "0", LOG + "; " + HELD + "; : {}", ":::", "a", "b"]
    run = box.begin("map", "--result", "r.json", *args)
    wait_for_lines(box, 1)
    box.map("--result", "other.json", *args, code=4)
    value = result(box, "other.json")
    assert value["state"] == "already-running" and "running already" in value["error"]
    box.map("--result", "other.json", "--if-running", "skip", *args)
    assert result(box, "other.json")["state"] == "skipped"
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    value = result(box)
    assert (value["state"], value["exit"], value["done"]) == ("drained", 75, 0)
    assert value["interruptions"] == 1
    box.release()
    box.map("--result", "r.json", *args)
    value = result(box)
    assert (value["state"], value["done"], value["interruptions"]) == ("finished", 2, 0)


def test_of_a_pipeline(box):
    box.write("sub/p.yaml", "version: 1\nname: p\nstages:\n  s:\n    input: {count: 2}\n"
              "    run: 'echo {}'\n    output: out/{}.txt\n")
    box.ebb("run", "--result", "r.json", "sub/p.yaml")
    assert result(box)["done"] == 2
    box.ebb("run", "--result", "r.json", "sub/p.yaml")
    value = result(box)
    assert (value["state"], value["exit"], value["run"], value["done"]) == \
        ("unchanged", 0, "r1", 2)
    box.write("sub/p.yaml", "version: 1\nstagse: 3\n")
    box.ebb("run", "--result", "r.json", "sub/p.yaml", code=2)
    value = result(box)
    assert (value["state"], value["exit"], value["run"]) == ("refused", 2, None)
    assert value["error"]


def test_wrong_words_and_places(box):
    box.map("--result", "r.json", "--out", "{nonsense", "echo", ":::", "a", code=None)
    box.map("--result", "r.json", "no-such-program-at-all", "a", ":::", "a", code=2)
    assert result(box)["state"] == "refused"
    err = box.map("--result", "no/such/r.json", LOG, ":::", "a", code=2).err
    assert "--result" in err and box.ran() == []


@pytest.mark.parametrize("code", [0, 1])
def test_a_folder_that_goes_away(box, code):
    box.path("d").mkdir()
    box.hold()
    run = box.begin("map", "--retries", "1", "--result", "d/r.json",
                    LOG + "; " + HELD + "; exit %d # {}" % code, ":::", "a")
    wait_for_lines(box, 1)
    shutil.rmtree(box.path("d"))
    box.release()
    r = run.wait(10)
    assert r.code == (3 if code == 0 else 1) and "--result" in r.err
