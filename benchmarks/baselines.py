"""Molecules per second of the baseline GFN2, against a bare loop over tblite in the same run.

Each program computes the same molecules of QM7 with one thread per process. The bare loop makes
tblite's calculator and asks for the energy and nothing else. The two take turns, block by block, so
that other work on the machine meets both. Then everything is read back from the cache, first with
nothing of it in memory, then with its index.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase.units import Bohr

from kernchem.baselines import GFN2, programs
from kernchem.structures import Structures

#: Molecules between turns.
BLOCK = 50


def load(folder: Path, n: int) -> Structures:
    """Return molecules of qm7.npz, drawn at random."""
    with np.load(folder / "qm7.npz") as data:
        rows = np.random.default_rng(0).choice(len(data["Z"]), n, replace=False)
        return Structures.from_arrays(data["Z"][rows], data["R"][rows])


def bare(molecules: Structures) -> np.ndarray:
    """Return energies in hartree."""
    from tblite.interface import Calculator

    energies = []
    for molecule in molecules:
        positions = np.ascontiguousarray(molecule.positions) / Bohr
        calculator = Calculator("GFN2-xTB", molecule.numbers, positions)
        calculator.set("verbosity", 0)
        energies.append(float(calculator.singlepoint().get("energy")))
    return np.array(energies)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1, help="processes of the baseline")
    parser.add_argument("--cached", type=int, default=10, help="copies read from the cache")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    molecules = load(arguments.data, arguments.molecules)
    bare(molecules[:2])
    GFN2(n_jobs=1).compute(molecules[:2])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        program = GFN2(n_jobs=arguments.jobs, cache=folder)
        seconds = {"bare": 0.0, "baseline": 0.0}
        step = BLOCK if arguments.jobs == 1 else len(molecules)
        for first in range(0, len(molecules), step):
            block = molecules[first : first + step]
            start = time.perf_counter()
            bare(block)
            middle = time.perf_counter()
            program.compute(block)
            seconds["bare"] += middle - start
            seconds["baseline"] += time.perf_counter() - middle
        rates = {name: len(molecules) / taken for name, taken in seconds.items()}
        rows.append({"case": "bare tblite, one core", "rate": rates["bare"], "goal": None})
        per_core = rates["baseline"] / arguments.jobs
        rows.append({"case": "GFN2 with its cache, per core", "rate": per_core, "goal": None})
        ratio = per_core / rates["bare"]
        rows.append({"case": "ratio", "rate": ratio, "goal": 0.9})
        many = molecules[np.arange(arguments.cached * len(molecules)) % len(molecules)]
        programs._OPEN.clear()
        for case in ("cached, index read", "cached, index in memory"):
            start = time.perf_counter()
            result = program.compute(many)
            rate = len(many) / (time.perf_counter() - start)
            assert result.ok.all()
            rows.append({"case": case, "rate": rate, "goal": 10_000})
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:g}"
        print(f"{row['case']:34}{row['rate']:12.4g}{goal:>8}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
