"""ebb completion: what bash makes of it, and zsh where it is installed."""

import os
import subprocess
from pathlib import Path

import pytest

import ebbtest


@pytest.fixture
def complete(box):
    """A function: the words of a line, the last of which is to be completed."""
    script = box.write("ebb.bash", box.ebb("completion", "bash").out)

    def ask(*words):
        # An interactive shell would do this when Tab is pressed; compopt is known
        # only there.
        line = 'source "$1"; shift; compopt() { :; }; COMP_WORDS=(ebb "$@"); ' \
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _ebb; printf "%s\\n" "${COMPREPLY[@]}"'
        r = subprocess.run(["bash", "-c", line, "bash", script, *words], cwd=box.root,
                           capture_output=True, text=True, check=True)
        assert r.stderr == ""
        return sorted(x for x in r.stdout.split("\n") if x)
    return ask


def test_verbs(complete):
    assert complete("st") == ["status"] and complete("re") == ["report", "retry"]
    assert {"map", "run", "status", "completion", "help"} <= set(complete(""))
    assert complete("help", "ma") == ["map"] and complete("completion", "z") == ["zsh"]


def test_options(complete, box):
    assert complete("status", "--wa") == ["--watch"]
    assert complete("map", "--retr") == ["--retries", "--retry-delay"]
    assert complete("map", "--if-running", "") == ["fail", "join", "skip", "wait"]
    assert complete("run", "-q", "--if-running", "j") == ["join"]
    assert complete("map", "--retries", "") == []
    box.path("folder").mkdir()
    box.write("file", "")
    assert complete("status", "--state", "f") == ["folder"]
    assert complete("map", "--joblog", "f") == ["file", "folder"]


def test_the_command_is_not_ebbs(complete):
    assert complete("map", "--", "gzip", "--qui") == []
    assert complete("exec", "--", "--st") == []


def test_every_option_is_there(complete, box):
    verbs = [v for v in complete("") if not v.startswith("-")]
    for verb in verbs:
        options = [w for w in complete(verb, "--") if w.startswith("--")]
        text = box.ebb("help", verb).out.decode().split("options:")[-1]
        for option in options:
            if option != "--help":
                assert option in text, (verb, option)


def test_a_shell_that_is_not_known(box):
    assert "zsh" in box.ebb("completion", "fish", code=2).err
    assert box.ebb("completion", code=2).err


def test_it_is_what_is_installed(box):
    made = Path(ebbtest.build_dir())
    for shell, name in (("bash", "ebb.bash"), ("zsh", "_ebb")):
        assert (made / name).read_bytes() == box.ebb("completion", shell).out


def test_zsh(box):
    out = box.ebb("completion", "zsh").out.decode()
    assert out.startswith("#compdef ebb\n") and "--watch[" in out
    script = box.write("_ebb", out)
    subprocess.run(["zsh", "-n", os.fspath(script)], check=True)
