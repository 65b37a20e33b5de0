"""What a command finds around it: descriptors, variables, umask, folder; ebb in
ebb; many slots."""

import os
import resource
import signal

import pytest

import ebbtest


def test_only_three_descriptors(box):
    r = box.map("/usr/bin/python3", "-c",
                "import os; print(sorted(f for f in os.listdir('/proc/self/fd') "
                "if os.path.exists('/proc/self/fd/' + f)))", ":::", "a")
    assert r.out == b"['0', '1', '2']\n"


@pytest.mark.parametrize("how", ["list", "out", "bytes"])
def test_what_descriptors_are(box, how):
    box.write("in", b"data\n")
    code = "import os; print([os.readlink('/proc/self/fd/%d' % n) for n in (0, 1, 2)])"
    command = ["/usr/bin/python3", "-c", code]
    if how == "bytes":
        text = box.map("--shard", "bytes:9", "in", "--", *command).out.decode()
    elif how == "out":
        box.map("--out", "o", *command, ":::", "a")
        text = box.read("o").decode()
    else:
        text = box.map(*command, ":::", "a").out.decode()
    links = ebbtest.json.loads(text.replace("'", '"'))
    assert ("pipe" in links[0]) == (how == "bytes")
    assert how == "bytes" or links[0] == "/dev/null"


def test_inherited_descriptors_go_no_further(box):
    """Not through ebb, even when ebb has them itself."""
    code = "import os; print(os.path.exists('/proc/self/fd/7'))"
    r = box.begin("map", "/usr/bin/python3", "-c", code, ":::", "a",
                  before=lambda: os.dup2(1, 7)).wait(10)
    assert r.out == b"False\n"


def test_a_command_does_not_read_the_list(box):
    """cat without a name must not eat the items on stdin."""
    assert box.map("-k", "cat; echo {}", stdin=b"a\nb\nc\n").out == b"a\nb\nc\n"


def test_variables_are_passed_on(box):
    env = {"LD_LIBRARY_PATH": "/some/where", "FOO": "b a\nr", "PATH": os.environ["PATH"] + ":/x"}
    r = box.map("/usr/bin/python3", "-c", "import os; print([os.environ.get(n) for n in "
                "('LD_LIBRARY_PATH', 'FOO', 'PATH', 'LC_ALL')])", ":::", "a", **env)
    assert r.out.decode().strip() == str([env["LD_LIBRARY_PATH"], env["FOO"], env["PATH"], "C.UTF-8"])


def test_variables_that_are_not_set_stay_so(box):
    r = box.map("echo ${LD_LIBRARY_PATH-unset} ${LD_PRELOAD-unset} {}", ":::", "a")
    assert r.out == b"unset unset a\n"


def test_what_a_task_is_told(box):
    r = box.map("-k", "-j1", "echo $EBB_RUN $EBB_SHARD $EBB_INDEX $EBB_EPOCH $EBB_ATTEMPT "
                "$EBB_FAILURES $EBB_INTERRUPTIONS; : {}", ":::", "a", "b")
    assert r.out == b"r1 a 0 1 1 0 0\nr1 b 1 1 1 0 0\n"


def test_the_working_folder(box):
    assert box.map("pwd; : {}", ":::", "a").out.decode().strip() == os.path.realpath(box.root)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_umask(box, mask):
    r = box.begin("map", "umask; : {}", ":::", "a", before=lambda: os.umask(mask)).wait(10)
    assert int(r.out, 8) == mask


def test_signals_are_as_usual_for_commands(box):
    """Nothing blocked or ignored that was not before: SIGPIPE ends them."""
    r = box.map("grep -E '^Sig(Blk|Ign)' /proc/self/status; : {}", ":::", "a")
    masks = {line.split()[0]: int(line.split()[1], 16) for line in r.out.decode().splitlines()}
    assert masks["SigBlk:"] == 0
    ignored = [n for n in range(1, 32) if masks["SigIgn:"] >> (n - 1) & 1]
    mine = [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN]
    assert set(ignored) <= set(mine)


def test_limits_are_passed_on(box):
    want = resource.getrlimit(resource.RLIMIT_NOFILE)
    r = box.map("ulimit -Sn; : {}", ":::", "a")
    assert r.out.strip().decode() == str(want[0])


def test_each_command_has_a_group_of_its_own(box):
    r = box.map("cut -d ' ' -f 1,5 /proc/$$/stat; : {}", ":::", "a")
    pid, group = r.out.split()
    assert pid == group


# ---- ebb in ebb ----

def test_ebb_in_ebb(box):
    box.env["EBB_BINARY"] = ebbtest.ebb_bin()
    r = box.map("-k", "-j2", "d=in/{}; mkdir -p $d; cd $d; $EBB_BINARY map -q -k echo inner ::: 1 2", ":::", "a", "b")
    assert r.out == b"inner 1\ninner 2\n" * 2
    box.wait_alone()
    assert os.path.isdir(box.path("in/a/.ebb"))


def test_ebb_in_ebb_on_the_same_state(box):
    box.env["EBB_BINARY"] = ebbtest.ebb_bin()
    r = box.map("-k", "-j2", "$EBB_BINARY map -q --if-running wait echo inner ::: {}", ":::", "a", "b")
    assert sorted(r.out.split()) == [b"a", b"b", b"inner", b"inner"]


def test_kill_of_the_outer_ends_the_inner(box):
    box.env["EBB_BINARY"] = ebbtest.ebb_bin()
    run = box.begin("map", "$EBB_BINARY map --state inner sh -c 'echo >>$EBBTEST_LOG; sleep 60' "
                    "::: {}", ":::", "a")
    ebbtest.wait_until(box.ran, 10, "the inner command")
    box.crash(run)


# ---- many slots ----

def test_many_slots(box):
    r = box.map("-j200", "-q", "-k", "sleep", "0.1{}", ":::", *range(400), seconds=25)
    assert r.out == b"" and box.status()[0]["done"] == 400
    box.wait_alone()


def test_many_slots_run_at_once(box):
    """Each waits until all are there."""
    n = 60
    box.map("-j%d" % n, "-q", "echo >>$EBBTEST_LOG; until [ $(wc -l <$EBBTEST_LOG) -ge %d ]; do "
            "sleep 0.1; done; : {}" % n, ":::", *range(n), seconds=25)


def test_few_descriptors(box):
    """Many slots and few descriptors: fewer at once, or an error; not a hang."""
    def before():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    box.write("in", b"x\n" * 300)
    r = box.begin("map", "-q", "-k", "-j200", "--shard", "bytes:2", "in", "--", "cat",
                  before=before).wait(20)
    r.check_words()
    if r.code == 0:
        assert r.out == b"x\n" * 300
