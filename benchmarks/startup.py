"""Seconds until the package can be used, in fresh processes: imports, and the first compilation.

Times are wall seconds of whole processes, the median of the repeats, less those of an interpreter
that does nothing. The cold run compiles into an empty cache folder, the cached one reads it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIT = """
from kernchem import KRR, datasets
from kernchem.descriptors import BagOfBonds, CoulombMatrix, EncodedBonds
data = datasets.load_qm_small()[:60]
for descriptor in (CoulombMatrix(), BagOfBonds(), EncodedBonds(max_bonds=3)):
    KRR(descriptor=descriptor).fit(data, data["atomization_energy"]).predict(data)
"""
#: Name, program, goal in seconds.
PROGRAMS = [
    ("import kernchem", "import kernchem", 0.5),
    ("import numpy (for comparison)", "import numpy", None),
    ("from kernchem import Structures", "from kernchem import Structures", None),
    ("from kernchem import KRR", "from kernchem import KRR", None),
    ("import sklearn.kernel_ridge (for comparison)", "import sklearn.kernel_ridge", None),
]


def seconds(program: str, repeats: int, environment: dict[str, str]) -> float:
    """Return the median wall time of a program in a fresh interpreter."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    nothing = seconds("pass", arguments.repeats, environment)
    rows = []
    for name, program, goal in PROGRAMS:
        seconds(program, 1, environment)
        taken = seconds(program, arguments.repeats, environment) - nothing
        rows.append({"case": name, "seconds": taken, "goal": goal})
    with tempfile.TemporaryDirectory() as folder:
        environment["NUMBA_CACHE_DIR"] = folder
        for name, goal in (("three first fits, cold", None), ("three first fits, cached", None)):
            rows.append({"case": name, "seconds": seconds(FIT, 1, environment), "goal": goal})
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
        print(f"{row['case']:46}{row['seconds']:8.3f}{goal:>6}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
