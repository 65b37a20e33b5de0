"""Short records through a process for each batch of them."""
import subprocess
from statistics import median

from measure import BenchFailed, ratio_of_rounds

RECORDS = 10_000_000
BATCH = 10_000
SHARD = "16MiB"
PIPELINE = """version: 1
name: batch
stages:
  pass:
    input: ../records
    shard: {by: bytes, size: %s}
    batch: %d
    run: [cat]
    output: out/{#}
""" % (SHARD, BATCH)


def make_records(bench):
    path = bench.path("records")
    with open(path, "wb") as out:
        subprocess.run(["seq", str(RECORDS)], stdout=out, check=True)
    return path


def run_ebb(bench, records):
    """The outputs joined are the input."""
    folder = bench.run("ebb", ["/bin/sh", "-c", f"cat >p.yaml <<'E'\n{PIPELINE}E\nexec {bench.ebb} run -q -j2 p.yaml"])
    joined = subprocess.run("cat $(ls out | sort -n | sed s,^,out/,) | cmp - ../records", shell=True,
                            cwd=folder, check=False)
    if joined.returncode != 0 or not records.exists():
        raise BenchFailed("what came out is not what went in")


def batch(bench):
    records = make_records(bench)
    for number in range(1, min(bench.rounds, 3) + 1):
        bench.say(f"round {number} of {min(bench.rounds, 3)}")
        run_ebb(bench, records)
        bench.run("parallel --pipe", ["/bin/sh", "-c", f"parallel --will-cite -j2 --pipe -N{BATCH} cat >out"],
                  records)
        bench.run("cat", ["/bin/sh", "-c", "cat >out"], records)
    rate = {label: [RECORDS / s["wall_s"] for s in bench.samples[label]]
            for label in ("ebb", "parallel --pipe", "cat")}
    for label, values in rate.items():
        bench.row(label, "records/s", values)
    bench.figures["ratio_parallel_pipe"] = ratio_of_rounds(rate["ebb"], rate["parallel --pipe"])
    bench.figures["ratio_cat"] = ratio_of_rounds(rate["ebb"], rate["cat"])
    bench.figures["ebb_s"] = median(s["wall_s"] for s in bench.samples["ebb"])
    bench.note(f"{RECORDS} lines, a cat for each {BATCH}; ebb's outputs are synced and it makes its "
               "progress durable each second, the others do neither")
