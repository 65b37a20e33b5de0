"""ebb task and the Python module ebb_task, against an ebb that is only a page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebbtest import ROOT, ebb_bin
from fakeebb import FakeEbb

PYTHON = ROOT / "python"


@pytest.fixture
def fake(tmp_path):
    with FakeEbb(tmp_path, epoch=7, offset=40) as page:
        yield page


def task(env, *words, code=0):
    done = subprocess.run([ebb_bin(), "task", *map(str, words)], env=env, timeout=20, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code, done
    return done


def python(env, text, code=0):
    """What the text prints, with the module as `ebb`."""
    done = subprocess.run([sys.executable, "-c", "import sys, os\nimport ebb_task as ebb\n" + text],
                          env=dict(env, PYTHONPATH=str(PYTHON), PYTHONDONTWRITEBYTECODE="1"),
                          timeout=20, stdout=subprocess.PIPE, text=True)
    assert done.returncode == code, done
    return done.stdout.split()


def outside():
    return {k: v for k, v in os.environ.items() if not k.startswith("EBB_")}


EVERYTHING = """
print(ebb.attach(), ebb.should_stop(), ebb.reason(), ebb.plan(), ebb.seconds_left())
ebb.progress(3, 4)
ebb.done()
"""
GO_ON = ["False", "False", "none", "none", "inf"]


# ---- outside ebb ----

def test_outside_ebb_task_says_go_on():
    env = outside()
    assert task(env, "should-stop", code=1).stderr == ""
    assert task(env, "seconds-left").stdout == "inf\n"
    assert task(env, "offset").stdout == "0\n"
    for words in ["checkpoint"], ["checkpoint", "5"], ["progress", "5"], ["progress", "5", "9"], ["done"]:
        done = task(env, *words)
        assert (done.stdout, done.stderr) == ("", "")


def test_outside_python_says_go_on():
    text = EVERYTHING + "ebb.checkpoint(3)\nprint(ebb.offset(), ebb.checkpoint_dir())"
    assert python(outside(), text) == GO_ON + ["0", "None"]


@pytest.mark.parametrize("words", [[], ["stop"], ["progress"], ["progress", "x"], ["progress", "-1"],
                                   ["checkpoint", "1", "2"], ["done", "1"], ["--loud", "done"]])
def test_wrong_words(words):
    assert "ebb" in task(outside(), *words, code=2).stderr


# ---- a page that cannot be used ----

def damage_epoch(fake):
    return {"EBB_EPOCH": "8"}


def damage_truncated(fake):
    os.truncate(fake.path, 24)
    return {}


def damage_empty(fake):
    os.truncate(fake.path, 0)
    return {}


def damage_gone(fake):
    fake.path.unlink()
    return {}


def damage_magic(fake):
    fake.put("=Q", 0, 12345)
    return {}


def damage_version(fake):
    fake.put("=I", 8, 2)
    return {}


def damage_pipe(fake):
    fake.path.unlink()
    os.mkfifo(fake.path)
    return {}


@pytest.mark.parametrize("damage", [damage_epoch, damage_truncated, damage_empty, damage_gone,
                                    damage_magic, damage_version, damage_pipe])
def test_unusable_pages(fake, damage):
    """Everything says "go on", but nothing is called durable."""
    env = fake.env(**damage(fake))
    task(env, "should-stop", code=1)
    assert task(env, "seconds-left").stdout == "inf\n"
    task(env, "progress", "1")
    assert "EBB_CONTROL" in task(env, "checkpoint", "50", code=1).stderr
    assert python(env, EVERYTHING) == GO_ON
    assert python(env, "try: ebb.checkpoint(50)\nexcept ebb.NotDurable as e: print(e.code)") == ["65"]


def test_another_contract(fake):
    env = fake.env(EBB_CONTRACT="2")
    fake.stop(30)
    task(env, "should-stop", code=1)
    assert python(env, EVERYTHING) == GO_ON


# ---- an ebb that listens ----

def test_ebb_task_under_ebb(fake):
    env = fake.env()
    task(env, "should-stop", code=1)
    assert task(env, "offset").stdout == "40\n"
    task(env, "progress", "12", "30")
    assert fake.progress()[:2] == (12, 30) and fake.progress()[2] < 20
    task(env, "progress", "13")
    assert fake.progress()[:2] == (13, 0)
    assert not fake.said_done()
    task(env, "done")
    assert fake.said_done()
    fake.stop(100)
    task(env, "should-stop", code=0)
    assert 50 < int(task(env, "seconds-left").stdout) <= 100
    fake.stop(-5)
    assert task(env, "seconds-left").stdout == "0\n"


def test_python_under_ebb(fake):
    assert python(fake.env(), EVERYTHING + "print(ebb.offset(), ebb.checkpoint_dir())") == \
        ["True", "False", "none", "none", "inf", "40", str(fake.checkpoint)]
    assert fake.progress()[:2] == (3, 4) and fake.progress()[2] < 20
    assert fake.said_done()
    fake.stop(100, reason=1, plan=3)
    said = python(fake.env(), EVERYTHING)
    assert said[:4] == ["True", "True", "notice", "hand-back"] and 50 < float(said[4]) <= 100


def test_python_sees_the_page_flip(fake):
    text = "print('ready', flush=True)\nwhile not ebb.should_stop(): pass\nprint(ebb.reason())"
    child = subprocess.Popen([sys.executable, "-c", "import ebb_task as ebb\n" + text], text=True,
                             env=fake.env(PYTHONPATH=str(PYTHON), PYTHONDONTWRITEBYTECODE="1"),
                             stdout=subprocess.PIPE)
    assert child.stdout.readline() == "ready\n"
    fake.stop(10)
    assert child.stdout.readline() == "drain\n"
    assert child.wait(10) == 0
    child.stdout.close()


def test_checkpoints(fake):
    assert task(fake.env(), "checkpoint", "41").stderr == ""
    task(fake.env(), "checkpoint")
    python(fake.env(), "ebb.checkpoint(60); ebb.checkpoint()")
    assert fake.asked == [41, 41, 60, 60]


@pytest.mark.parametrize("answer, code, word", [(1, 1, "stop"), (2, 2, "try again"), (3, 3, "offset"),
                                                (99, 2, "try again")])
def test_not_durable(tmp_path, answer, code, word):
    with FakeEbb(tmp_path, answers=[answer]) as fake:
        assert word in task(fake.env(), "checkpoint", "5", code=1).stderr
        said = python(fake.env(), "try: ebb.checkpoint(5)\nexcept ebb.NotDurable as e: print(e.code, e)")
        assert said[0] == str(code) and word in " ".join(said)


def test_no_answer_until_the_deadline(tmp_path):
    with FakeEbb(tmp_path, answers=[None]) as fake:
        fake.stop(0.2)
        assert "may or may not" in task(fake.env(), "checkpoint", "5", code=1).stderr
        text = "try: ebb.checkpoint(5)\nexcept ebb.NotDurable as e: print(e.code)"
        assert python(fake.env(), text) == ["64"]
        text = "try: ebb.checkpoint(5, seconds=0)\nexcept ebb.NotDurable as e: print(e.code)"
        assert python(fake.env(), text) == ["64"]


def test_python_refuses_by_itself(fake):
    text = "try: ebb.checkpoint(-1)\nexcept ebb.NotDurable as e: print(e.code)"
    assert python(fake.env(), text) == ["3"]
    assert fake.asked == []


def test_no_checkpoints_are_kept(fake):
    task(fake.env(EBB_CHECKPOINT=""), "checkpoint", "5")
    python(fake.env(EBB_CHECKPOINT=""), "ebb.checkpoint(5)")
    assert fake.asked == []


def test_python_threads_and_forks(fake):
    text = """
import threading
def ask():
    for _ in range(10): ebb.checkpoint()
threads = [threading.Thread(target=ask) for _ in range(4)]
pid = os.fork()
if pid == 0:
    ask()
    os._exit(0)
for t in threads: t.start()
for t in threads: t.join()
print(os.waitpid(pid, 0)[1], len(os.listdir('/proc/self/fd')))
ebb.checkpoint()
print(len(os.listdir('/proc/self/fd')))
"""
    said = python(fake.env(), text)
    assert said[0] == "0" and said[1] == said[2]
    assert len(fake.asked) == 51


def test_the_header_is_c99_and_cplusplus(tmp_path):
    text = '#include <ebb/ebb.h>\nint main(void) { return ebb_should_stop() + ebb_checkpoint(EBB_SAME_OFFSET); }\n'
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{ROOT}/include"]
    (tmp_path / "a.c").write_text(text)
    subprocess.run(["gcc", "-std=c99", *flags, tmp_path / "a.c"], check=True, timeout=60)
    (tmp_path / "a.cc").write_text(text)
    for compiler in "g++", "clang++-14":
        if any(Path(d, compiler).exists() for d in os.environ["PATH"].split(":")):
            subprocess.run([compiler, "-std=c++11", *flags, tmp_path / "a.cc"], check=True, timeout=60)
