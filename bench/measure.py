"""What the benchmarks share: where they work, how a program is run and timed, and
how figures are told."""
import collections
import contextlib
import json
import os
import platform
import resource
import select
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 900      # no single program takes longer
POLL_S = 0.002     # how often a program is looked at that cannot tell by itself
NOT_A_DISK = ("tmpfs", "ramfs")


class BenchFailed(Exception):
    """A program did not do what is measured; there is no figure."""


# ---- machine ----

def file_system(folder):
    """The type of the file system that a folder is on."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        mount = mount.encode().decode("unicode_escape")
        if Path(folder).resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def machine(folder):
    """What a reader has to know to compare figures."""
    cpu = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu[0] if cpu else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30, 1), "kernel": platform.release(),
            "file_system": file_system(folder)}


def busy_s():
    """CPU seconds spent since boot by everything on this machine, stolen ones included."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_s():
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# ---- programs ----

@contextlib.contextmanager
def pidfd(pid):
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def ends_within(fd, seconds):
    """Whether the process of a pidfd has ended, at the latest after so many seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@dataclass
class Sample:
    """One run of one program."""
    wall_s: float
    cpu_s: float          # of the whole tree: what ended in it was waited for
    others_cores: float   # CPU that everything else on the machine took meanwhile


class Program:
    """A program under way. Left by `with`, it is killed if it still runs."""

    def __init__(self, command, folder, stdin=None, env=None):
        self.command = [str(word) for word in command]
        self.errors = tempfile.TemporaryFile()
        self.code = None
        self.busy, self.own = busy_s(), own_s()
        with open(stdin or os.devnull, "rb") as items:
            self.began_ns = time.monotonic_ns()
            self.child = subprocess.Popen(self.command, cwd=folder, stdin=items,
                                          env=os.environ | (env or {}),
                                          stdout=subprocess.DEVNULL, stderr=self.errors)
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.code is None:
            self.kill()
        self.errors.close()

    def kill(self):
        self.child.kill()
        return self.wait()

    def since_s(self):
        return (time.monotonic_ns() - self.began_ns) / 1e9

    def wait(self):
        """The sample of a program that ends by itself or was told to."""
        if not self.ends_within(LIMIT_S):
            self.fail(f"did not end in {LIMIT_S} s")
        _, status, used = os.wait4(self.pid, 0)
        wall = self.since_s()
        self.code = self.child.returncode = os.waitstatus_to_exitcode(status)
        cpu = used.ru_utime + used.ru_stime
        others = busy_s() - self.busy - cpu - (own_s() - self.own)
        return Sample(wall, cpu, max(0.0, others / wall))

    def ends_within(self, seconds):
        """Whether it has ended, at the latest after so many seconds; it is not waited for."""
        with pidfd(self.pid) as fd:
            return ends_within(fd, seconds)

    def last_words(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()[-2000:]

    def fail(self, what):
        line = " ".join(self.command)[:300]
        raise BenchFailed(f"{line}\n{what}; its last words:\n{self.last_words()}")

    def until(self, what, ready, every_s=POLL_S):
        """Waits until ready() is true of the running program; its value and when."""
        while True:
            value, when = ready(), self.since_s()
            if value:
                return value, when
            if self.ends_within(0):
                self.fail(f"ended before {what}")
            if when > LIMIT_S:
                self.fail(f"not {what} after {LIMIT_S} s")
            time.sleep(every_s)


def high_water_mib(pid):
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def children(pid):
    """Of a process with one thread that starts programs, its main one."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status(ebb, folder):
    """What `ebb status --json` says of the only run, or None before there is one."""
    done = subprocess.run([ebb, "status", "--json", "--state", "S"], cwd=folder,
                          stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        return None
    try:
        runs = json.loads(done.stdout)["runs"]
    except ValueError as error:
        raise BenchFailed(f"{ebb} status --json: {error}") from None
    return runs[0] if runs else None


# ---- one benchmark ----

@dataclass
class Row:
    """A line of the table."""
    name: str
    unit: str
    values: list


class Bench:
    """Where one benchmark works, what it ran and what it found."""

    def __init__(self, name, ebb, quick):
        self.name, self.ebb, self.quick = name, ebb, quick
        self.rounds = 3 if quick else 5
        self.folder = None
        self.rows, self.notes, self.figures = [], [], {}
        self.commands = {}
        self.samples = collections.defaultdict(list)

    @contextlib.contextmanager
    def working(self):
        """A temporary folder on a real disk, removed at the end."""
        top = os.environ.get("EBB_BENCH_DIR", "/var/tmp")
        if (kind := file_system(top)) in NOT_A_DISK:
            raise BenchFailed(f"{top} is on {kind}; name a folder on a disk with EBB_BENCH_DIR")
        self.folder = Path(tempfile.mkdtemp(prefix="ebb-bench-", dir=top))
        self.machine = machine(self.folder)
        # ext4 without a journal passes by every file that was deleted in the last
        # minutes when it makes one in the same part of the disk. So nothing is
        # deleted before the end, and where this flag is known, each folder in
        # this one is given another part.
        subprocess.run(["chattr", "+T", self.folder], stderr=subprocess.DEVNULL)
        try:
            yield self
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return self.folder / name

    def new_folder(self):
        return Path(tempfile.mkdtemp(dir=self.folder))

    def compile(self, name):
        """One of the helper programs beside this file, plainly compiled."""
        program = self.path(name)
        subprocess.run(["cc", "-O2", "-pthread", "-o", program, HERE / f"{name}.c"], check=True)
        return program

    def items(self, n):
        """A list of n items, one a line."""
        path = self.path(f"items-{n}")
        if not path.exists():
            path.write_text("".join(f"{i}\n" for i in range(1, n + 1)))
        return path

    def start(self, label, command, folder, stdin=None, env=None):
        """Starts a program with nothing left to write from what ran before."""
        line = " ".join(str(word) for word in command)
        self.commands[label] = line.replace(f"{self.folder}/", "").replace(str(self.ebb), "ebb")
        os.sync()
        return Program(command, folder, stdin, env)

    def run(self, label, command, stdin=None):
        """Runs a program to its good end, in a folder of its own."""
        folder = self.new_folder()
        with self.start(label, command, folder, stdin) as program:
            sample = program.wait()
            if program.code != 0:
                program.fail(f"exit code {program.code}")
        self.samples[label].append(asdict(sample))
        return folder

    def say(self, text):
        print(f"  {text}", flush=True)

    def row(self, name, unit, values):
        self.rows.append(Row(name, unit, list(values)))

    def note(self, text):
        self.notes.append(text)

    def note_others(self):
        """How much of the machine others took, since all figures hang on it."""
        used = [s["others_cores"] for list_ in self.samples.values() for s in list_
                if "others_cores" in s]
        if used:
            self.note(f"others used {statistics.median(used):.2f} of {self.machine['cores']} cores "
                      f"meanwhile (median of runs; {min(used):.2f}-{max(used):.2f})")


# ---- telling ----

def ratio_of_rounds(faster, slower):
    """Median of the ratios of runs that were made one after the other."""
    return statistics.median(a / b for a, b in zip(faster, slower))


class Exact(float):
    """A ratio whose fourth digit counts."""


def number(value):
    """Three digits that count, for people and scripts."""
    if isinstance(value, Exact):
        return f"{value:.4f}"
    if isinstance(value, int):
        return str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def table(rows):
    lines = [("", "median", "min-max", "n")]
    for row in rows:
        span = f"{number(min(row.values))}-{number(max(row.values))}"
        lines.append((row.name, f"{number(statistics.median(row.values))} {row.unit}", span,
                      str(len(row.values))))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join("  " + line[0].ljust(widths[0]) + "".join(
        f"  {cell.rjust(width)}" for cell, width in zip(line[1:], widths[1:])) for line in lines)


def key_values(bench):
    return f"{bench.name}: " + " ".join(f"{k}={number(v)}" for k, v in bench.figures.items())


def report(bench):
    """Prints the table and ends with the line for scripts."""
    print(table(bench.rows))
    for note in bench.notes:
        print(f"  ({note})")
    print(key_values(bench), flush=True)


def as_json(bench, version):
    return {"benchmark": bench.name, "line": key_values(bench), "figures": bench.figures,
            "quick": bench.quick, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "ebb": version, "machine": bench.machine, "commands": bench.commands,
            "table": [asdict(row) for row in bench.rows], "notes": bench.notes,
            "samples": bench.samples}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")
