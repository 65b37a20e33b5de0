"""What ebb says to somebody who meets it for the first time: advice that works
when it is pasted, and words that mean what they say."""

import os
import subprocess

import pytest
from ebbtest import ebb_bin


def paste(box, err, verb):
    """Runs what the "next:" line says, up to the semicolon, as a shell does."""
    line = [l for l in err.splitlines() if l.startswith("next:")][0]
    advice = [a for a in line[5:].split(" ; ") if a.strip().startswith("ebb " + verb)][0]
    return subprocess.run(["bash", "-c", advice.replace("ebb", '"$EBB"', 1)], cwd=box.root,
                          env=dict(os.environ, EBB=ebb_bin()), capture_output=True, text=True,
                          timeout=20, check=False)


@pytest.mark.parametrize("state", [".ebb", "my state"])
@pytest.mark.parametrize("item", ["-n.txt", "two words", "it's", "a\nb", "#3", "17", "$HOME", "x\ty"])
def test_the_advice_to_look_at_the_log(box, item, state):
    r = box.map("--state", state, "-0", "--retries", "1", "sh -c 'echo why >&2; exit 3'",
                stdin=b"17x\0" + item.encode() + b"\0#4\0", code=1)
    r = box.map("--state", state, "-0", "--retries", "1", "--halt", "soon,fail=1", "-j1",
                "sh -c 'echo why >&2; exit 3' {}", stdin=item.encode() + b"\0", code=1)
    r = paste(box, r.err, "logs")
    assert r.returncode == 0 and "why" in r.stdout, r.stderr


def test_a_shard_by_its_number(box):
    box.map("echo {} >&2; exit 1", ":::", "#2", "b", "3x", "#2#4", code=1)
    assert b"#2" in box.ebb("logs", "#2").out
    assert b"3x" in box.ebb("logs", "#3").out
    assert b"#2#4" in box.ebb("logs", "#4").out
    box.ebb("logs", "#9", code=2)


def test_advice_for_an_older_run(box):
    old = ["--retries", "1", "echo old >&2; exit 1; : {}", ":::", "a"]
    box.map(*old, code=1)
    box.map("true", ":::", "a")
    r = box.map(*old, code=1)
    assert "old" in paste(box, r.err, "logs").stdout
    again = box.ebb("retry", "r1", code=1)
    assert "--fresh" not in again.err


# ---- what did not count ----

def test_attempts_without_a_result_are_of_this_start(box):
    box.script("step.sh", '[ -e fine ] || exit 3')
    line = ["--retries", "2", "--retry-delay", "10ms", "bash", "./step.sh", ":::", "a", "b"]
    r = box.map(*line, code=1)
    assert "attempts without a result: 4 failed; " in r.err and "did not count" not in r.err
    assert "failed: a (exit 3)" in r.err
    r = box.map(*line, code=1)
    assert "attempts without a result: 4 failed; " in r.err
    box.write("fine", "")
    r = box.map(*line)
    assert "without a result" not in r.err


def test_a_command_that_is_not_there_is_said_to_be_tried_once(box):
    r = box.map("sh -c 'exit 127'", ":::", "a", code=1)
    assert "exit 127 (1 of 10) (not tried again, as no attempt has ever succeeded)" in r.err


# ---- lines ----

@pytest.mark.parametrize("args", [
    ["--out", "/elsewhere/{}", "echo", ":::", "a"],
    ["--shard", "bytes:1k", "missing.txt", "--", "wc"],
    ["--out", "same", "echo", ":::", "a", "b"],
])
def test_a_refused_line_leaves_no_run(box, args):
    box.map(*args, code=2)
    assert box.ebb("status", code=None).out == b""
    assert not list(box.path(".ebb/runs").iterdir())
    box.map("true", ":::", "a")
    assert len(box.status()) == 1


def test_a_finished_line_says_that_it_starts_over(box):
    line = ["true", ":::", "a"]
    said = "r1 was finished; starting over (--skip-done runs only what is new or changed)"
    assert "starting over" not in box.map(*line).err
    assert said in box.map(*line).err
    for more in (["-q"], ["--fresh"], ["--skip-done"]):
        assert "starting over" not in box.map(*more, *line).err


def test_status_tells_lines_apart(box):
    box.write("big", "x\n" * 100)
    box.map("--out", "one/{}", "echo {}", ":::", "a")
    box.map("--out", "two/{}", "echo {}", ":::", "a")
    box.map("--shard", "bytes:64", "big", "--", "wc", "-l")
    box.path("sub").mkdir()
    box.map("--state", box.path(".ebb"), "echo {}", ":::", "a", cwd=box.path("sub"))
    lines = box.ebb("status").out.decode().splitlines()
    assert "--out one/{}" in lines[0] and "--out two/{}" in lines[1]
    assert "--shard bytes, 64 B" in lines[2] and "in sub" in lines[3]
    assert all("-" in line.split()[2] and ":" in line.split()[3] for line in lines)
    assert b"begun 20" in box.ebb("status", "r1").out


# ---- words of other programs, and forgotten ones ----

@pytest.mark.parametrize("option,instead", [
    ("-n2", "--colsep"), ("-I{}", "{} stands for"), ("-L", "--colsep"), ("-d,", "tr ','"),
    ("-t", "--dry-run"), ("--delay=2", "-j"), ("--load", "-j auto"), ("--eta", "ebb status"),
    ("--bar", "ebb status"), ("--resume", "goes on by itself"), ("--pipe", "--shard bytes:SIZE"),
    ("--results=d", "--out NAME"),
])
def test_options_of_xargs_and_parallel(box, option, instead):
    err = box.refused(option, "echo", ":::", "a")
    assert instead in err and len(err.splitlines()) == 1
    assert "there is no " + option.split("=")[0][:2] in err


def test_the_help_explains_lists(box):
    text = box.ebb("help", "map").out.decode()
    assert ":::+" in text and "::::" in text
    assert box.map("-k", "echo {1}{2}", ":::", "a", "b", ":::+", "1", "2").out == b"a1\nb2\n"


def test_a_forgotten_double_dash(box):
    box.write("n.txt", "1\n")
    err = box.refused("--shard", "bytes:1k", "n.txt", "wc", "-l")
    assert "put -- before the command: ebb map n.txt -- COMMAND" in err
    box.path("n.txt").chmod(0o644)
    assert "put --" in box.refused("./n.txt", "wc")
    assert "put --" not in box.refused("no-such-program", ":::", "a")


def test_a_pattern_without_a_match(box):
    warning = "no file matches *.log"
    assert warning in box.map("echo", ":::", "*.log").err
    box.write("[x]", "")
    for args in ([":::", "a.log"], [":::", "*.log", "b"], [":::", "[x]"], ["-a", "-"]):
        assert warning not in box.map("--fresh", "echo", *args, stdin=b"*.log\n").err


def test_pieces_with_one_name(box):
    box.write("n.txt", "1\n2\n")
    line = ["--shard", "bytes:2", "n.txt", "--", "cat"]
    assert "{#}" in box.map("--out", "{}.o", *line, code=2).err
    box.map("--out", "{}.{#}", *line)
    assert box.read("n.txt.2") == b"2\n"


def test_tags_of_pieces(box):
    box.write("n.txt", "1\n2\n")
    r = box.map("-k", "--tag", "--shard", "bytes:2", "n.txt", "--", "cat")
    assert r.out == b"n.txt#1\t1\nn.txt#2\t2\n"


def test_durations_are_seconds_without_a_unit(box):
    r = box.map("--retries", "1", "--timeout", "1", "sleep 60; : {}", ":::", "a", code=1)
    assert "timed-out" in r.err
    assert "expected seconds, or" in box.refused("--timeout", "x", "true", ":::", "a")


# ---- doctor ----

def test_doctor_of_a_state_that_cannot_be_made(box, not_root):
    box.top.chmod(0o755)
    box.path("closed").mkdir()
    box.path("closed").chmod(0o555)
    for state in ("closed/deep/er", "closed/state"):
        r = box.begin("doctor", state, before=not_root).wait(10)
        assert r.code == 1 and b"BAD  state" in r.out and b"cannot be made in closed" in r.out
    box.write("file", "")
    assert b"BAD  state" in box.begin("doctor", "file/state").wait(10).out
    assert b"ok   state" in box.begin("doctor", "new/state").wait(10).out
