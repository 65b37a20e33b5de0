"""What stands on the line of `ebb map`: the items and where they come from, the
replacement strings, shell and argument vector. Expected values with no word
beside them are what GNU parallel 20221122 prints."""

import os
import pty
import shlex
import subprocess

import pytest

import ebbtest


def lines(result):
    return result.out.decode().splitlines()


def echo(box, *args, **how):
    return lines(box.map("-k", *args, **how))


# ---- where items come from ----

@pytest.mark.parametrize("args, want", [
    (["echo", ":::", "a", "b"], ["a", "b"]),
    (["echo", ":::", "a", "b", ":::", "1", "2"], ["a 1", "a 2", "b 1", "b 2"]),
    (["echo", ":::", "a", "b", ":::+", "1", "2"], ["a 1", "b 2"]),
    (["echo", ":::", "a", "b", ":::+", "1", "2", ":::", "x", "y"],
     ["a 1 x", "a 1 y", "b 2 x", "b 2 y"]),
    (["echo", "::::", "f1"], ["1", "2"]),
    (["echo", "::::", "f1", "f2"], ["1 x", "1 y", "2 x", "2 y"]),
    (["echo", "::::", "f1", "::::+", "f2"], ["1 x", "2 y"]),
    (["echo", ":::", "q", "::::", "f1"], ["q 1", "q 2"]),
    (["-a", "f1", "echo"], ["1", "2"]),
    (["-a", "f1", "-a", "f2", "echo"], ["1 x", "1 y", "2 x", "2 y"]),
    (["--arg-file=f1", "echo"], ["1", "2"]),
    (["-a", "-", "echo"], ["in"]),
    (["echo", "::::", "-", "f1"], ["in 1", "in 2"]),
    (["echo"], ["in"]),
    (["--", "echo", ":::", "a"], ["a"]),
])
def test_sources(box, args, want):
    box.write("f1", "1\n2\n")
    box.write("f2", "x\ny\n")
    assert echo(box, *args, stdin=b"in\n") == want


def test_linked_sources_of_different_length_end_with_the_shorter(box):
    assert echo(box, "echo", ":::", "a", "b", ":::+", "1", "2", "3") == ["a 1", "b 2"]


def test_items_before_the_dashes(box):
    assert echo(box, "a", "b", "--", "echo") == ["a", "b"]


def test_options_stand_anywhere_before_the_dashes(box):
    assert echo(box, "a", "-k", "b", "--tag", "--", "echo") == ["a\ta", "b\tb"]


def test_options_of_the_command_are_not_ebbs(box):
    assert echo(box, "echo", "-n", "--tag", "{}", ":::", "a", "b") == ["--tag a--tag b"]


@pytest.mark.parametrize("text, want", [
    (b"a\nb\n", ["[a]", "[b]"]),
    (b"a\nb", ["[a]", "[b]"]),
    (b"a\r\nb\r\n", ["[a]", "[b]"]),
    (b"a\n\nb\n", ["[a]", "[]", "[b]"]),
    (b" a  b \n", ["[ a  b ]"]),
    (b"", []),
])
def test_lines_of_stdin(box, text, want):
    assert echo(box, "printf", "[%s]\\n", "{}", stdin=text) == want


def test_empty_lines_can_be_left_out(box):
    assert echo(box, "-r", "echo", stdin=b"a\n\nb\n\n") == ["a", "b"]


def test_items_that_end_with_nul(box):
    assert echo(box, "-0", "printf", "[%s]\\n", "{}", stdin=b"a b\0c\nd\0e") == \
        ["[a b]", "[c", "d]", "[e]"]


def test_nul_in_a_line_is_an_error_that_names_the_place(box):
    r = box.map("echo", stdin=b"good\nba\0d\n", code=2)
    assert "line 2" in r.err and "NUL" in r.err


def test_stdin_from_a_pipe_is_read_to_its_end(box):
    read, write = os.pipe()
    run = box.begin("map", "-k", "echo", stdin=read)
    os.close(read)
    os.write(write, b"first\n")
    # It runs what has arrived while the writer is still busy.
    ebbtest.wait_until(lambda: run.out() == b"first\n", 10, "the first item ran")
    os.write(write, b"second")
    os.close(write)
    r = run.wait(10)
    assert r.code == 0 and r.out == b"first\nsecond\n"


def test_an_empty_list_is_done_at_once(box):
    for args in (["echo", ":::"], ["-a", os.devnull, "echo"]):
        r = box.map(*args)
        assert r.out == b"" and "0 done" in r.err


@pytest.mark.parametrize("args, want", [
    (["--colsep", ",", "echo {2}={1}"], ["1=a", "2=b"]),
    (["--colsep=[,;]", "echo", "{1}", "{-1}"], ["a 1", "b 2"]),
])
def test_columns(box, args, want):
    assert echo(box, *args, stdin=b"a , 1\nb,2\n") == want


def test_columns_of_several_sources(box):
    assert echo(box, "--colsep", ",", "echo", "{1}{2}{3}", ":::", "a,b", ":::", "c") == ["abc"]


def test_a_column_that_is_not_there_is_an_error(box):
    r = box.map("--colsep", ",", "echo {3}", stdin=b"a,b\n", code=None)
    assert r.code in (1, 2) and "{3}" in r.err and r.out == b""


# ---- replacement strings ----

NAMES = {
    "a/b/c.tar.gz": ["a/b/c.tar", "c.tar.gz", "a/b", "c.tar"],
    "x.y/z": ["x.y/z", "z", "x.y", "z"],
    "a.": ["a", "a.", ".", "a"],
    "./x": ["./x", "x", ".", "x"],
    "a b.c": ["a b", "a b.c", ".", "a b"],
    "plain": ["plain", "plain", ".", "plain"],
    "/abs/file.txt": ["/abs/file", "file.txt", "/abs", "file"],
    "no.ext.in/dir": ["no.ext.in/dir", "dir", "no.ext.in", "dir"],
}


@pytest.mark.parametrize("item", NAMES)
def test_parts_of_a_name(box, item):
    want = "|".join(NAMES[item])
    assert echo(box, "echo", "{.}|{/}|{//}|{/.}", ":::", item) == [want]
    assert echo(box, "echo {.}'|'{/}'|'{//}'|'{/.}", ":::", item) == [want]


@pytest.mark.parametrize("words, want", [
    (["{2/.}-{-1}-{1//}"], ["t-s/t.u-p", "v-v-p"]),
    (["{2}", "{1}", "{}"], ["s/t.u p/q.r p/q.r s/t.u", "v p/q.r p/q.r v"]),
    (["{1/}", "{-2.}"], ["q.r p/q", "q.r p/q"]),
])
def test_arguments_by_number(box, words, want):
    assert echo(box, "echo", *words, ":::", "p/q.r", ":::", "s/t.u", "v") == want


def test_number_and_slot(box):
    got = echo(box, "-j1", "echo", "{#}", "{%}", "{}", ":::", "a", "b", "c")
    assert got == ["1 1 a", "2 1 b", "3 1 c"]


def test_slots_are_from_one_to_the_number_of_slots(box):
    got = echo(box, "-j3", "echo {%}; sleep 0.02; : {}", ":::", *range(20))
    assert set(got) <= {"1", "2", "3"} and len(set(got)) > 1


def test_two_running_commands_never_have_the_same_slot(box):
    got = echo(box, "-j4", 'mkdir slot{%} || exit 9; sleep 0.01; rmdir slot{%}; echo ok; : {}',
               ":::", *range(40))
    assert got == ["ok"] * 40


def test_other_braces_stand_for_themselves(box):
    assert echo(box, "echo", "{x}", "{ }", "{}.{}", "{a,b}", "}{", ":::", "i") == \
        ["{x} { } i.i {a,b} }{"]


def test_the_item_is_appended_when_no_word_names_it(box):
    assert echo(box, "echo", "x", ":::", "a", "b c") == ["x a", "x b c"]
    assert echo(box, "echo x", ":::", "a", "b  c") == ["x a", "x b  c"]
    assert echo(box, "echo", "n{#}", ":::", "a") == ["n1 a"]


# ---- shell and argument vector ----

NASTY = ["it's", "a b", "$(touch pwned)", "`touch pwned`", "; touch pwned", "*", "", "-n", "\\", '"',
         "a\tb", "$HOME", "~", "#x", "!!", "&", "|", "<x", ">x", "a=b", "[a]", "{}", "{1}", "%s"]


def test_items_are_quoted_for_the_shell(box):
    got = echo(box, "printf '[%s]\\n' {}", ":::", *NASTY)
    assert got == ["[%s]" % n for n in NASTY]
    assert box.names() == []


def test_items_reach_an_argument_vector_as_they_are(box):
    got = echo(box, "printf", "[%s]\\n", "{}", ":::", *NASTY)
    assert got == ["[%s]" % n for n in NASTY]
    assert box.names() == []


def test_one_word_with_a_shell_character_is_for_bash(box):
    assert echo(box, "echo {} | tr a-z A-Z", ":::", "ab") == ["AB"]


def test_several_words_are_no_shell(box):
    assert echo(box, "echo", "{}", "|", "tr $x", ":::", "ab") == ["ab | tr $x"]


@pytest.mark.parametrize("text", ["false; echo {}", "false | cat; echo {}", 'echo "$unset" {}'])
def test_the_shell_stops_at_the_first_failure(box, text):
    r = box.map("--retries", "1", text, ":::", "a", code=1)
    assert b"a" not in r.out


def test_the_shell_keeps_what_parameter_expansion_wants(box):
    assert echo(box, 'x=ab.c; echo ${x%.c} "${#x}" {}', ":::", "i") == ["ab 4 i"]


@pytest.mark.parametrize("text", ["echo '{}'", 'echo "{}"', "echo `cat {}`", "echo \\{}"])
def test_an_item_inside_of_the_users_own_quotes_is_refused(box, text):
    assert "{}" in box.refused(text, ":::", "a")


# ---- dry run ----

def test_dry_run_prints_commands_that_a_shell_understands(box):
    items = [n for n in NASTY if n]
    printed = box.map("-k", "--dry-run", "printf", "[%s]\\n", "{}", ":::", *items)
    ran = subprocess.run(["bash", "-c", printed.out], capture_output=True, cwd=box.root, check=True)
    assert ran.stdout == box.map("-k", "printf", "[%s]\\n", "{}", ":::", *items).out
    for line, item in zip(printed.out.decode().splitlines(), items):
        assert shlex.split(line) == ["printf", "[%s]\\n", item]


@pytest.mark.parametrize("args", [
    ["--out", "sub/{}.x", "touch ran; echo {}", ":::", "a", "b"],
    ["--out", "sub/{}.x", "--joblog", "log", "touch", "ran", "{}", ":::", "a"],
    ["--shard", "bytes:2", "in", "--", "touch", "ran"],
])
def test_dry_run_writes_nothing(box, args):
    box.write("in", "1\n2\n3\n")
    r = box.map("--dry-run", *args)
    assert r.out.count(b"\n") >= 1
    assert box.names() == ["in"] and not box.path(".ebb").exists()


def test_dry_run_beside_a_state_leaves_it_as_it_is(box):
    args = ["--out", "{}.x", "echo", ":::", "a"]
    box.map(*args)
    r = box.map("--dry-run", *args)
    assert b"a.x" in r.out
    assert [run["generation"] for run in box.status()] == [1]


def test_dry_run_shows_names_that_are_refused(box):
    """A first look at a list should find what the run would refuse."""
    r = box.map("--dry-run", "--out", "same", "echo", ":::", "a", "b", code=None)
    assert r.code in (0, 2)


# ---- mistakes ----

def test_no_command(box):
    for args in ([], [":::", "a"], ["--", ":::", "a"], ["-j2"], ["a", "--"]):
        err = box.refused(*args)
        assert "no command" in err and "ebb map" in err


def test_an_empty_command(box):
    assert "command" in box.refused("", ":::", "a")


def test_no_items_and_stdin_a_terminal(box):
    master, slave = pty.openpty()
    try:
        err = box.refused("echo", stdin=slave, seconds=5)
        assert ":::" in err and "for example" in err
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize("word, meant", [
    ("--tiemout", "--timeout"), ("--job", "--jobs"), ("--keep-ordr", "--keep-order"),
    ("--dryrun", "--dry-run"), ("--skipdone", "--skip-done"), ("--retrys=3", "--retries"),
])
def test_an_unknown_option_is_answered_with_a_near_one(box, word, meant):
    err = box.refused(word, "echo", ":::", "a")
    assert word.split("=")[0] in err and meant in err


@pytest.mark.parametrize("word", ["--nothing-like-it", "-Z", "-kZ", "--" + "x" * 200])
def test_an_unknown_option_points_to_the_help(box, word):
    assert "ebb help map" in box.refused(word, "echo", ":::", "a")


BAD_VALUES = [
    ("--jobs", ["0", "+x", "-", "x", "5x", "", "0%", "x%", "99999999999999999999", "1.5"]),
    ("--retries", ["0", "-1", "x", "", "99999999999999999999"]),
    ("--retry-delay", ["x", "-1s", "5 parsecs", ""]),
    ("--timeout", ["x", "-1", "5parsecs", "", "1e99", "99999999999999999999d"]),
    ("--grace", ["x", "-1", ""]),
    ("--lease", ["x", "0", "-1s", "1ms"]),
    ("--halt", ["sometimes", "soon", "now,", "now,fail", "now,fail=0", "now,fail=101%",
                "now,fail=x", "later,fail=1", "now,fail=1,x", "", "2"]),
    ("--if-running", ["x", "", "fail|wait"]),
    ("--shard", ["x", "bytes", "bytes:", "bytes:0", "bytes:-1", "bytes:5XiB", "bytes:x", ""]),
    ("--state-max", ["x", "-1", "", "1e99"]),
    ("--log", ["xml", ""]),
    ("--colsep", ["(", "[", "a\\"]),
    ("--records", ["x", "lines"]),
    ("--out", [""]),
]


@pytest.mark.parametrize("option, value", [(o, v) for o, values in BAD_VALUES for v in values])
def test_a_bad_value_is_named(box, option, value):
    box.write("in", "1\n")
    err = box.refused("%s=%s" % (option, value), "--", "echo", ":::", "in")
    assert option in err, err


@pytest.mark.parametrize("args, named", [
    (["--jobs"], "--jobs"), (["-j"], "-j"), (["--out"], "--out"),
])
def test_a_missing_value_is_named(box, args, named):
    assert named in box.refused(*args)


def test_a_value_for_what_takes_none(box):
    assert "--fresh" in box.refused("--fresh=yes", "echo", ":::", "a")


def test_bad_grace_in_the_environment(box):
    assert "EBB_GRACE" in box.refused("echo", ":::", "a", EBB_GRACE="soon")


def test_records_without_bytes(box):
    assert "--records" in box.refused("--records", "lines", "echo", ":::", "a")


@pytest.mark.parametrize("how", [["-a", "missing"], ["::::", "missing"], ["-a", "folder"]])
def test_a_list_that_cannot_be_read_is_named(box, how):
    box.path("folder").mkdir()
    args = ["echo", *how] if how[0] == "::::" else [*how, "echo"]
    assert how[1] in box.refused(*args)


def test_stdin_named_twice(box):
    assert "stdin" in box.refused("-a", "-", "-a", "-", "echo", stdin=b"a\n")


def test_a_joblog_that_cannot_be_written(box):
    err = box.map("--joblog", "missing/log", "touch", "ran", "{}", ":::", "a", code=2).err
    assert "missing/log" in err and box.names() == []


@pytest.mark.parametrize("jobs", ["1", "8", "50%", "200%", "auto", "+2", "-1", "-1000"])
def test_how_many_at_once(box, jobs):
    assert box.map("-j", jobs, "echo", ":::", "a").out == b"a\n"
    assert box.map("-P" + ("1" if jobs == "1" else jobs), "echo", ":::", "a").out == b"a\n"


def test_short_options_together(box):
    assert box.map("-k0j2", "echo", stdin=b"a\0b").out == b"a\nb\n"
