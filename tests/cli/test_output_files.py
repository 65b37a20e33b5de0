"""output: {files: FOLDER}: what a command puts into $EBB_OUTPUT, whole or not at all."""

import hashlib
import json
import os

import pytest

import ebbtest
from ebbcli import HELD, LOG, tree, wait_for_lines


def pipeline(run, more="", folder="out", count=3):
    return """
version: 1
name: many
stages:
  make:
    input: {count: %d}
    retry: {failures: 1, backoff: 10ms..20ms}
    run: |
      echo {} >>"$EBBTEST_LOG"
      %s
    output: {files: '%s'}
%s""" % (count, run.replace("\n", "\n      "), folder, more)


TWO_EACH = 'mkdir "$EBB_OUTPUT"/sub; printf a{} >"$EBB_OUTPUT"/{}.txt; printf b{} >"$EBB_OUTPUT"/sub/{}'
READ_ALL = """
  read:
    input: [{stage: make}]
    input_as: list
    run: 'cat {}; echo; cat $(cat {})'
    output: all.txt
"""


def private(box):
    return [name for name in tree(box.path(".ebb/runs/r1")) if "private/" in name]


def files(box, folder="out"):
    """Names of the files below a folder."""
    return sorted(os.path.relpath(os.path.join(where, name), box.path(""))
                  for where, _, names in os.walk(box.path(folder)) for name in names)


def test_all_files_of_all_shards(box):
    box.write("p.yaml", pipeline(TWO_EACH, READ_ALL))
    box.ebb("run", "p.yaml")
    names = ["out/0.txt", "out/sub/0", "out/1.txt", "out/sub/1", "out/2.txt", "out/sub/2"]
    assert files(box) == sorted(names)
    assert box.read("all.txt").decode() == "\n".join(names) + "\n\n" + "a0b0a1b1a2b2"
    manifest = json.loads(box.read(".ebb/runs/r1/_ebb_manifest.r1.make.json"))
    assert [f for s in manifest["list"] for f in s["files"]] == \
        [{"name": n, "size": 2, "sha256": hashlib.sha256(box.read(n)).hexdigest()} for n in names]
    assert not private(box)


def test_stdout_is_in_the_log(box):
    box.write("p.yaml", pipeline('echo out; echo err >&2; echo x >"$EBB_OUTPUT"/x{}', count=1))
    r = box.ebb("run", "--no-stderr", "p.yaml")
    assert r.out == b"" and box.ebb("logs", "0").out.endswith(b"\nout\nerr\n")


def test_the_path_is_absolute_and_the_folder_empty(box):
    box.write("p.yaml", pipeline('cd /; case $EBB_OUTPUT in /*) ;; *) exit 1;; esac\n'
                                 '[ -z "$(ls -A "$EBB_OUTPUT")" ]; echo x >"$EBB_OUTPUT"/x{}'))
    box.ebb("run", "p.yaml", "--state", "elsewhere/state")


def test_nothing_is_published_of_what_failed(box):
    box.write("p.yaml", pipeline(TWO_EACH + "; [ {} != 1 ]"))
    box.ebb("run", "-j1", "p.yaml", code=1)
    assert not os.path.exists(box.path("out/1.txt")) and not private(box)
    assert box.read("out/0.txt") == b"a0"


@pytest.mark.parametrize("make, what", [("ln -s /etc/passwd", "a symbolic link"), ("mkfifo", "a FIFO")])
def test_only_files_and_folders(box, make, what):
    box.write("p.yaml", pipeline('echo x >"$EBB_OUTPUT"/a; %s "$EBB_OUTPUT"/odd' % make, count=1))
    err = box.ebb("run", "p.yaml", code=1).err
    assert "odd in $EBB_OUTPUT is " + what in err
    assert not files(box) and not private(box)
    assert box.shards()[0]["state"] == "failed"


@pytest.mark.parametrize("how, what", [
    ('ln -s "$PWD"/mine "$EBB_OUTPUT"', "something else in the place of"),
    ('echo x >"$EBB_OUTPUT"', "something else in the place of"), ("true", "removed the folder")])
def test_the_folder_itself_is_not_replaced(box, how, what):
    """By a link, ebb would move files out of a folder that is somebody's."""
    box.write("mine/a", "mine")
    box.write("p.yaml", pipeline('rmdir "$EBB_OUTPUT"; ' + how, count=1))
    assert what in box.ebb("run", "p.yaml", code=1).err
    assert box.read("mine/a") == b"mine" and not files(box) and not private(box)
    assert len(box.ran()) == 1 and box.shards()[0]["attempts"][0]["cause"] == "failed"


def test_folders_that_the_command_made_read_only(box, not_root):
    """As copies of such folders are: their files can be moved, and what failed goes."""
    box.path("").chmod(0o777)
    box.top.chmod(0o777)
    box.log.chmod(0o666)
    box.write("p.yaml", pipeline('cd "$EBB_OUTPUT"; mkdir -p d{}/e; echo x >d{}/e/f; chmod 0 d{}/e; '
                                 'chmod 555 d{} .; [ {} = 0 ]', count=2))
    run = box.begin("run", "-j1", "p.yaml", before=not_root).wait(10)
    assert run.code == 1 and "cannot" not in run.err
    assert files(box) == ["out/d0/e/f"] and not private(box)


def test_too_many(box):
    box.write("p.yaml", pipeline('cd "$EBB_OUTPUT"; seq 10001 | xargs touch', count=1))
    assert "more than 10000 files" in box.ebb("run", "p.yaml", code=1).err
    assert not private(box)


def test_too_deep(box):
    box.write("p.yaml", pipeline('cd "$EBB_OUTPUT"; for i in $(seq 40); do mkdir d; cd d; done; touch f', count=1))
    assert "more than 32 deep" in box.ebb("run", "p.yaml", code=1).err
    assert not private(box)


def test_two_shards_with_one_name(box):
    """The one that comes second fails, and says whose the name is."""
    box.write("p.yaml", pipeline('echo {} >"$EBB_OUTPUT"/own{}; echo {} >"$EBB_OUTPUT"/same', count=2))
    err = box.ebb("run", "-j1", "p.yaml", code=1).err
    assert "out/same" in err and "same output name" in err
    assert box.read("out/same") == b"0\n" and "out/own1" not in files(box) and not private(box)
    assert [s["state"] for s in box.shards()] == ["published", "failed"]
    box.ebb("status")


def test_a_file_that_is_not_ebbs(box):
    """Of several files none is published when one of them may not be."""
    box.write("out/sub/1", "mine")
    box.write("p.yaml", pipeline(TWO_EACH))
    err = box.ebb("run", "-j1", "p.yaml", code=1).err
    assert "out/sub/1 exists and was not written by ebb" in err
    assert box.read("out/sub/1") == b"mine" and "out/1.txt" not in files(box) and not private(box)
    os.unlink(box.path("out/sub/1"))
    box.ebb("retry")
    assert box.read("out/sub/1") == b"b1"


def test_none_at_all(box):
    box.write("p.yaml", pipeline("true", READ_ALL.replace("cat {}; echo; cat $(cat {})", "wc -l <{}"), count=2))
    box.ebb("run", "p.yaml")
    assert box.read("all.txt") == b"0\n" and not private(box)


def test_names_of_any_kind(box):
    box.write("p.yaml", pipeline('cd "$EBB_OUTPUT"; mkdir empty; : >-n; echo 1 >"$(printf "new\\nline")"; '
                                 'echo 2 >"$(printf "\\377")"; echo 3 >"a b"; echo 4 >.hidden; echo 5 >%41',
                                 READ_ALL.replace("input_as: list\n    ", "").replace("cat {}; echo; cat $(cat {})", "cat"),
                                 folder=".", count=1))
    box.ebb("run", "p.yaml")
    assert box.read("-n") == b"" and box.read("new\nline") == b"1\n" and box.read(".hidden") == b"4\n"
    with open(os.fsencode(box.path("")) + b"/\xff", "rb") as f:
        assert f.read() == b"2\n"
    assert not os.path.exists(box.path("empty"))
    assert box.read("all.txt") == b"5\n4\n3\n1\n2\n"  # in the order of the bytes


def test_a_folder_for_each(box):
    box.write("p.yaml", pipeline('echo {} >"$EBB_OUTPUT"/same', folder="out/{}/"))
    box.ebb("run", "p.yaml")
    assert [box.read("out/%d/same" % i) for i in range(3)] == [b"0\n", b"1\n", b"2\n"]


@pytest.mark.parametrize("folder, word", [("../out", "outside"), ("/var/out", "outside"), ("", "empty")])
def test_folders_that_are_none(box, folder, word):
    box.write("p.yaml", pipeline("touch $EBB_OUTPUT/x", folder=folder))
    r = box.ebb("run", "p.yaml", code=None)
    assert r.code in (1, 2) and word in r.err and not os.path.exists(box.path("../out"))


def test_with_batches(box):
    box.write("in.txt", "1\n2\n")
    box.write("p.yaml", """
version: 1
name: many
stages:
  make: {input: in.txt, run: cat, batch: 1, output: {files: out}}
""")
    assert "batch" in box.ebb("run", "p.yaml", code=2).err


def test_what_was_taken_away_is_made_again(box):
    box.write("p.yaml", pipeline(TWO_EACH))
    box.ebb("run", "p.yaml")
    os.unlink(box.path("out/sub/1"))
    box.forget()
    box.ebb("run", "p.yaml")
    assert box.ran() == ["1"] and box.read("out/sub/1") == b"b1"
    assert "nothing to do" in box.ebb("run", "p.yaml").err


def test_taking_over_is_done_in_steps(box):
    """Each may have thousands of files, and others want the ledger meanwhile."""
    box.write("p.yaml", pipeline(TWO_EACH, count=20))
    box.ebb("run", "p.yaml")
    os.unlink(box.path("out/sub/1"))
    box.forget()
    count = box.top / "count"
    again = ebbtest.Running(box, [ebbtest.fault_bin(), "run", "p.yaml"],
                            dict(box.env, EBB_FAULT_COUNT=str(count)))
    assert again.wait(10).code == 0 and box.ran() == ["1"]
    steps = [n for point, n in ebbtest.points_in(count) if point == "plan.before"]
    assert len(steps) >= 5


def test_another_command_replaces_them(box):
    """What it makes no more is left over, and told."""
    box.write("p.yaml", pipeline(TWO_EACH))
    box.ebb("run", "p.yaml")
    box.write("p.yaml", pipeline('printf c{} >"$EBB_OUTPUT"/{}.txt'))
    box.ebb("run", "p.yaml")
    assert [box.read("out/%d.txt" % i) for i in range(3)] == [b"c0", b"c1", b"c2"]
    assert box.read("out/sub/1") == b"b1"
    box.ebb("gc", "--left-over", "r1")
    assert "out/sub/1" not in files(box) and box.read("out/1.txt") == b"c1"


def test_progress_begins_with_an_empty_folder(box):
    box.write("p.yaml", pipeline("""
[ -z "$(ls -A "$EBB_OUTPUT")" ] || exit 1
n=$(cat "$EBB_CHECKPOINT"/n || echo 0)
echo "n$n" >"$EBB_OUTPUT"/f$n
[ "$n" = 2 ] && exit 0
echo $((n + 1)) >"$EBB_CHECKPOINT"/n
"$EBB" task checkpoint
exit 85
""", count=1))
    box.ebb("run", "p.yaml", EBB=ebbtest.ebb_bin())
    assert files(box) == ["out/f2"]
    assert len(box.ran()) == 3 and not private(box)


def test_killed_in_the_middle(box):
    box.write("p.yaml", pipeline('echo half >"$EBB_OUTPUT"/half{}\n' + HELD + '\nrm "$EBB_OUTPUT"/half{}; ' + TWO_EACH))
    box.hold()
    run = box.begin("run", "-j2", "p.yaml")
    wait_for_lines(box, 2)
    box.crash(run)
    box.release()
    box.ebb("run", "p.yaml")
    assert files(box) == sorted(["out/%d.txt" % i for i in range(3)] + ["out/sub/%d" % i for i in range(3)])
    assert not private(box)


OTHER_EACH_TIME = 'for i in 1 2 3; do echo {} $i $$ >"$EBB_OUTPUT"/{}.$i; done'


def killed_between_names(box, *args):
    full = dict(box.env, EBB_FAULT_CRASH="publish.rename.after:2")
    run = ebbtest.Running(box, [ebbtest.fault_bin(), "run", "p.yaml", *args], full)
    assert run.wait(10).code == -9
    assert files(box) == ["out/0.1", "out/0.2"]
    box.wait_alone()


def check_one_attempt_each(box):
    """All files are there, and those of a shard are of one attempt."""
    assert files(box) == ["out/%d.%d" % (n, i) for n in range(len(files(box)) // 3) for i in (1, 2, 3)]
    for n in range(len(files(box)) // 3):
        assert len({box.read("out/%d.%d" % (n, i)).split()[2] for i in (1, 2, 3)}) == 1
    assert not private(box)


def test_begun_anew_after_some_names_were_given(box):
    """What has its name is ebb's own, though it was never published."""
    box.write("p.yaml", pipeline(OTHER_EACH_TIME, count=1))
    killed_between_names(box)
    box.ebb("run", "--fresh", "p.yaml")
    check_one_attempt_each(box)


@pytest.mark.parametrize("gone", ["out/0.1", "out/0.2"])
def test_taken_away_before_all_names_were_given(box, gone):
    box.write("p.yaml", pipeline(OTHER_EACH_TIME, count=1))
    killed_between_names(box)
    os.unlink(box.path(gone))
    box.ebb("run", "p.yaml")
    check_one_attempt_each(box)
    assert len(box.ran()) == 2


def test_somebody_elses_file_before_all_names_were_given(box):
    box.write("p.yaml", pipeline(OTHER_EACH_TIME, count=1))
    killed_between_names(box)
    box.write("out/0.3", "mine")
    assert "was not written by ebb" in box.ebb("run", "p.yaml", code=1).err
    assert box.read("out/0.3") == b"mine"
    os.unlink(box.path("out/0.3"))
    box.ebb("retry")
    check_one_attempt_each(box)
