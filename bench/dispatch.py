"""How many commands a second are started and recorded, two at a time."""
from measure import ratio_of_rounds

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


def median_of(values):
    return sorted(values)[len(values) // 2]


def dispatch(bench):
    floor = bench.compile("floor")
    items, few = bench.items(TASKS), bench.items(PARALLEL_TASKS)
    for number in range(1, bench.rounds + 1):
        bench.say(f"round {number} of {bench.rounds}")
        bench.run("ebb", [bench.ebb, "map", f"-j{SLOTS}", "--state", "S", "--", "/bin/true"], items)
        bench.run("xargs", ["xargs", f"-P{SLOTS}", "-n1", "/bin/true"], items)
        bench.run("parallel", ["parallel", "--will-cite", f"-j{SLOTS}", "--joblog", "joblog",
                               "/bin/true"], few)
        bench.run("floor", [floor, "log", TASKS, SLOTS, "log", "/bin/true"])
        bench.remove("S", "joblog", "log")
    tasks = {"ebb": TASKS, "xargs": TASKS, "parallel": PARALLEL_TASKS, "floor": TASKS}
    for label, n in tasks.items():
        show(bench, label, n)
    rate = {label: rates(bench, label, n) for label, n in tasks.items()}
    for label in ("xargs", "parallel", "floor"):
        bench.figures[f"ratio_{label}"] = ratio_of_rounds(rate["ebb"], rate[label])
    for label in tasks:
        bench.figures[f"{label}_per_s"] = median_of(rate[label])
    for label in ("ebb", "xargs"):
        bench.figures[f"{label}_cpu_ms"] = median_of(cpu_ms(bench, label, TASKS))
    bench.note(f"{TASKS} times /bin/true, {SLOTS} at a time; parallel, being slow, "
               f"{PARALLEL_TASKS} times")


def dispatch_out(bench):
    floor = bench.compile("floor")
    items = bench.items(OUT_TASKS)
    for number in range(1, bench.rounds + 1):
        bench.say(f"round {number} of {bench.rounds}")
        bench.path("floor-out").mkdir()
        bench.run("ebb", [bench.ebb, "map", f"-j{SLOTS}", "--state", "S", "--out", "ebb-out/{}",
                          "--", "/bin/echo"], items)
        bench.run("floor", [floor, "out", OUT_TASKS, SLOTS, "floor-out", "/bin/echo"])
        bench.remove("S", "ebb-out", "floor-out")
    for label in ("ebb", "floor"):
        show(bench, label, OUT_TASKS)
    rate = {label: rates(bench, label, OUT_TASKS) for label in ("ebb", "floor")}
    bench.figures["ratio_floor"] = ratio_of_rounds(rate["ebb"], rate["floor"])
    bench.figures["ebb_per_s"] = median_of(rate["ebb"])
    bench.figures["floor_per_s"] = median_of(rate["floor"])
    bench.figures["ebb_cpu_ms"] = median_of(cpu_ms(bench, "ebb", OUT_TASKS))
    bench.note(f"{OUT_TASKS} times /bin/echo, each into a file of its own, {SLOTS} at a time")
