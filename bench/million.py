"""A list of 10^6 items: how soon work begins, in how much memory, how soon it goes
on after a kill, and how long it takes to ask how far it is."""
import contextlib
import shutil
import signal
import subprocess
from statistics import median

from measure import (LIMIT_S, BenchFailed, Program, children, ends_within, high_water_mib, pidfd,
                     status)

ITEMS = 1_000_000
LEFT = 1_000            # of them, when ebb is killed
REAL_TASKS = 1_000      # done by ebb itself before that, not by prefill
QUICK_JOBLOG = 100_000
PEER_WATCHED_S = 5      # how long a peer's memory is watched
STATUS_RUNS = 5
STOP_S = 15             # from TERM to KILL


def ebb_line(bench, stamp, items):
    return [bench.ebb, "map", "-j2", "--state", "S", "--", stamp, "::::", items]


def xargs_line(stamp, items):
    return ["xargs", "-a", items, "-P2", "-n1", stamp]


def parallel_line(stamp, items, *options):
    return ["parallel", "--will-cite", "-j2", *options, stamp, "{}", "::::", items]


class Stamped:
    """A program under way whose first task says when it began."""

    made = 0

    def __init__(self, bench, label, command, folder):
        # A name of its own: tasks of a program that was killed may still begin.
        Stamped.made += 1
        self.file = bench.path(f"stamp-{Stamped.made}")
        self.program = bench.start(label, command, folder, env={"STAMP": str(self.file)})

    def __enter__(self):
        self.program.__enter__()
        return self

    def __exit__(self, *what):
        self.program.__exit__(*what)

    def stamped_ns(self):
        with contextlib.suppress(FileNotFoundError):
            text = self.file.read_text()
            return int(text) if text.endswith("\n") else None

    def first_task_s(self):
        """From the program's start to the first task's, by the task's own clock."""
        first_ns, _ = self.program.until("the first task had begun", self.stamped_ns)
        return (first_ns - self.program.began_ns) / 1e9


def stop(program):
    """TERM, then KILL if that does not end it."""
    program.child.send_signal(signal.SIGTERM)
    if program.ends_within(STOP_S):
        program.wait()
    else:
        program.kill()


def kill_ebb(program):
    """kill -9 of the worker. Back when its guardian, which ends the tasks, has gone too."""
    with contextlib.ExitStack() as stack:
        guardians = [stack.enter_context(pidfd(pid)) for pid in children(program.pid)]
        program.kill()
        if not all(ends_within(fd, LIMIT_S) for fd in guardians):
            raise BenchFailed("the guardian did not end after its worker was killed")


# ---- asking ebb ----

def wait_for_plan(program, ebb, folder):
    """Seconds from the start until the whole list is planned."""
    def planned():
        run = status(ebb, folder)
        return run is not None and run["plan_complete"]
    return program.until("the plan was complete", planned, 0.2)[1]


def published(ebb, folder):
    run = status(ebb, folder)
    return run["shards"]["published"] if run else 0


def status_s(ebb, folder):
    """Median time of `ebb status`."""
    times = []
    for _ in range(STATUS_RUNS):
        with Program([ebb, "status", "--state", "S"], folder) as program:
            times.append(program.wait().wall_s)
            if program.code != 0:
                program.fail(f"exit code {program.code}")
    return median(times)


def memory_mib(pid):
    """Of ebb: the worker and its guardian. Tasks are the guardian's children."""
    return sum(high_water_mib(p) for p in [pid, *children(pid)])


# ---- million ----

MILLION_ROWS = (
    ("ebb", "first_task_s"), ("xargs", "first_task_s"), ("parallel", "first_task_s"),
    ("ebb", "peak_mib"), ("xargs", "peak_mib"), ("parallel", "peak_mib"),
    ("ebb", "status_s"), ("ebb", "status_idle_s"), ("ebb", "plan_s"), ("ebb", "ledger_mib"))
MILLION_FIRST = ("first_task_s", "peak_mib", "status_s", "plan_s")


def measure_ebb(bench, stamp, items):
    ebb, folder = bench.ebb, bench.new_folder()
    with Stamped(bench, "ebb", ebb_line(bench, stamp, items), folder) as stamped:
        program = stamped.program
        sample = {"first_task_s": stamped.first_task_s(),
                  "plan_s": wait_for_plan(program, ebb, folder),
                  "status_s": status_s(ebb, folder),
                  "done_meanwhile": published(ebb, folder),
                  "peak_mib": memory_mib(program.pid)}
        stop(program)
    sample["status_idle_s"] = status_s(ebb, folder)
    sample["ledger_mib"] = sum(f.stat().st_size for f in folder.glob("S/ledger.db*")) / 2**20
    bench.samples["ebb"].append(sample)


def measure_peer(bench, label, command):
    with Stamped(bench, label, command, bench.new_folder()) as stamped:
        program = stamped.program
        sample = {"first_task_s": stamped.first_task_s()}
        program.until("it was watched", lambda: program.since_s() > PEER_WATCHED_S)
        sample["peak_mib"] = high_water_mib(program.pid)
        program.kill()
    bench.samples[label].append(sample)


def million(bench):
    stamp, items = bench.compile("stamp"), bench.items(ITEMS)
    for number in range(1, bench.rounds + 1):
        bench.say(f"round {number} of {bench.rounds}")
        measure_ebb(bench, stamp, items)
        measure_peer(bench, "xargs", xargs_line(stamp, items))
        measure_peer(bench, "parallel", parallel_line(stamp, items, "--joblog", "joblog"))
    figures = {}
    for label, key in MILLION_ROWS:
        values = [sample[key] for sample in bench.samples[label]]
        what, _, unit = key.rpartition("_")
        bench.row(f"{label} {what.replace('_', ' ')}", unit.replace("mib", "MiB"), values)
        figures[key if label == "ebb" else f"{label}_{key}"] = median(values)
    bench.figures = {key: figures[key] for key in MILLION_FIRST} | figures
    done = median(sample["done_meanwhile"] for sample in bench.samples["ebb"])
    bench.note(f"{ITEMS} items from a file, -j2; {done:.0f} tasks were done while it planned; "
               "status while tasks run on both cores, idle after it")
    bench.note(f"peers' memory: their main process in its first {PEER_WATCHED_S} s")


# ---- recovery ----

class Killed:
    """A run of 10^6 items that was killed shortly before its end."""

    def __init__(self, bench, stamp):
        self.bench, self.folder = bench, bench.new_folder()
        self.line = ebb_line(bench, stamp, bench.items(ITEMS))
        self.state = self.folder / "S"
        self.kept = self.folder / "S.killed"

    def stamped(self):
        return Stamped(self.bench, "ebb", self.line, self.folder)

    def published(self):
        return published(self.bench.ebb, self.folder)

    def plan_and_kill(self):
        self.bench.say("planning 10^6 items, then kill -9")
        with self.stamped() as stamped:
            wait_for_plan(stamped.program, self.bench.ebb, self.folder)
            kill_ebb(stamped.program)

    def prefill(self, done):
        self.bench.say(f"marking {done} of them done through the ledger")
        tool = self.bench.ebb.parent / "bench" / "prefill"
        if not tool.exists():
            raise BenchFailed(f"there is no {tool}; run make bench")
        subprocess.run([tool, self.state / "ledger.db", str(done)], check=True)

    def work_and_kill(self):
        """ebb itself does the last tasks, so that the kill leaves what a kill leaves."""
        self.bench.say(f"the same line does {REAL_TASKS} more, then kill -9")
        with self.stamped() as stamped:
            stamped.program.until("enough was done", lambda: self.published() >= ITEMS - LEFT, 0.02)
            kill_ebb(stamped.program)
        done = self.published()
        if not ITEMS - LEFT <= done < ITEMS:
            raise BenchFailed(f"{done} tasks are done after the kill")
        self.state.rename(self.kept)
        return done

    def restart(self):
        """The state as the kill left it, and the same line once more."""
        if self.state.exists():
            shutil.rmtree(self.state)
        shutil.copytree(self.kept, self.state)
        with self.stamped() as stamped:
            sample = {"first_task_s": stamped.first_task_s()}
            kill_ebb(stamped.program)
        sample["done_after"] = self.published()
        self.bench.samples["ebb"].append(sample)


def resume_parallel(bench, stamp):
    total = QUICK_JOBLOG if bench.quick else ITEMS
    folder = bench.new_folder()
    bench.say(f"parallel --resume past {total - LEFT} entries of a job log, once")
    with open(folder / "joblog", "w") as log:
        log.write("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n")
        log.writelines(f"{i}\t:\t1700000000.123\t     0.010\t0\t0\t0\t0\t{stamp} {i}\n"
                       for i in range(1, total - LEFT + 1))
    line = parallel_line(stamp, bench.items(total), "--resume", "--joblog", "joblog")
    with Stamped(bench, "parallel", line, folder) as stamped:
        seconds = stamped.first_task_s()
        stamped.program.kill()
    bench.samples["parallel"].append({"first_task_s": seconds, "joblog_entries": total - LEFT})
    return seconds


def recovery(bench):
    stamp = bench.compile("stamp")
    killed = Killed(bench, stamp)
    killed.plan_and_kill()
    killed.prefill(ITEMS - LEFT - REAL_TASKS)
    done = killed.work_and_kill()
    for number in range(1, bench.rounds + 1):
        bench.say(f"restart {number} of {bench.rounds}")
        killed.restart()
    parallel_s = resume_parallel(bench, stamp)
    firsts = [sample["first_task_s"] for sample in bench.samples["ebb"]]
    bench.row("ebb first task", "s", firsts)
    bench.row("parallel --resume first task", "s", [parallel_s])
    bench.figures = {"ratio_parallel_resume": parallel_s / median(firsts),
                     "first_task_s": median(firsts), "parallel_first_task_s": parallel_s,
                     "done_before": done}
    bench.note(f"killed with {done} of {ITEMS} done, the last ones left; its state is copied back "
               "before each restart")
    bench.note(f"parallel's job log has {bench.samples['parallel'][0]['joblog_entries']} entries"
               + (", fewer than ebb's list: --quick" if bench.quick else ""))
