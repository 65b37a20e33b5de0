"""How many commands a second are started and recorded, two at a time."""
from statistics import median

from measure import BenchFailed, ratio_of_rounds, status

SLOTS = 2
TASKS = 10_000
PARALLEL_TASKS = 1_000   # it takes ten times as long
OUT_TASKS = 5_000


def rates(bench, label, tasks):
    return [tasks / s["wall_s"] for s in bench.samples[label]]


def cpu_ms(bench, label, tasks):
    return [s["cpu_s"] / tasks * 1000 for s in bench.samples[label]]


def show(bench, label, tasks):
    bench.row(label, "tasks/s", rates(bench, label, tasks))
    bench.row("", "CPU ms/task", cpu_ms(bench, label, tasks))


def check_count(label, what, got, want):
    if got != want:
        raise BenchFailed(f"{label} has {got} {what}, not {want}")


def count_lines(path):
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def check_ebb(bench, folder, tasks):
    run = status(bench.ebb, folder)
    check_count("ebb", "tasks done", run["shards"]["published"] if run else 0, tasks)


def dispatch_round(bench, floor, items, few):
    """Each once; what they recorded is counted, since a fast runner may be one that does not."""
    check_ebb(bench, bench.run("ebb", [
        bench.ebb, "map", f"-j{SLOTS}", "--state", "S", "--", "/bin/true"], items), TASKS)
    bench.run("xargs", ["xargs", f"-P{SLOTS}", "-n1", "/bin/true"], items)
    folder = bench.run("parallel", [
        "parallel", "--will-cite", f"-j{SLOTS}", "--joblog", "joblog", "/bin/true"], few)
    check_count("parallel", "lines in its log", count_lines(folder / "joblog"), PARALLEL_TASKS + 1)
    folder = bench.run("floor", [floor, "log", TASKS, SLOTS, "log", "/bin/true"])
    check_count("floor", "lines in its log", count_lines(folder / "log"), TASKS)


def dispatch(bench):
    floor = bench.compile("floor")
    items, few = bench.items(TASKS), bench.items(PARALLEL_TASKS)
    for number in range(1, bench.rounds + 1):
        bench.say(f"round {number} of {bench.rounds}")
        dispatch_round(bench, floor, items, few)
    tasks = {"ebb": TASKS, "xargs": TASKS, "parallel": PARALLEL_TASKS, "floor": TASKS}
    for label, n in tasks.items():
        show(bench, label, n)
    rate = {label: rates(bench, label, n) for label, n in tasks.items()}
    for label in ("xargs", "parallel", "floor"):
        bench.figures[f"ratio_{label}"] = ratio_of_rounds(rate["ebb"], rate[label])
    for label in tasks:
        bench.figures[f"{label}_per_s"] = median(rate[label])
    for label in ("ebb", "xargs"):
        bench.figures[f"{label}_cpu_ms"] = median(cpu_ms(bench, label, TASKS))
    bench.note(f"{TASKS} times /bin/true, {SLOTS} at a time; parallel, being slow, "
               f"{PARALLEL_TASKS} times")


def check_outputs(label, folder):
    """Every output is there, with what belongs in it."""
    for i in range(1, OUT_TASKS + 1):
        if (folder / "out" / str(i)).read_text() != f"{i}\n":
            raise BenchFailed(f"{label}'s output of task {i} is not what it should be")


def dispatch_out(bench):
    floor = bench.compile("floor")
    items = bench.items(OUT_TASKS)
    for number in range(1, bench.rounds + 1):
        bench.say(f"round {number} of {bench.rounds}")
        for label, command in (
                ("ebb", [bench.ebb, "map", f"-j{SLOTS}", "--state", "S", "--out", "out/{}", "--",
                         "/bin/echo"]),
                ("floor", [floor, "out", OUT_TASKS, SLOTS, "out", "/bin/echo"])):
            check_outputs(label, bench.run(label, command, items))
    for label in ("ebb", "floor"):
        show(bench, label, OUT_TASKS)
    rate = {label: rates(bench, label, OUT_TASKS) for label in ("ebb", "floor")}
    bench.figures["ratio_floor"] = ratio_of_rounds(rate["ebb"], rate["floor"])
    bench.figures["ebb_per_s"] = median(rate["ebb"])
    bench.figures["floor_per_s"] = median(rate["floor"])
    bench.figures["ebb_cpu_ms"] = median(cpu_ms(bench, "ebb", OUT_TASKS))
    bench.note(f"{OUT_TASKS} times /bin/echo, each into a file of its own, {SLOTS} at a time")
