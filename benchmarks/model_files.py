"""Seconds to load a model of 10,000 molecules and to predict 1000 others, in fresh processes.

FOLDER holds ``qm9_subset.npz``: padded ``Z`` and ``R`` of molecules of QM9, and ``gfn2``, an energy
of each. Kernel width and regulariser are given, so that fitting is one factorisation; it takes
minutes. What is timed comes after: each process imports kernchem, loads the file and predicts. The
first one of each model warms the caches of Numba and of the file system, and does not count.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import kernchem
from kernchem import KRR, Structures
from kernchem.descriptors import BagOfBonds, EncodedBonds
from kernchem.errors import KernchemWarning
from kernchem.kernels import Gaussian, Laplacian

MODELS = {
    "BoB, Laplacian": KRR(Laplacian(1000.0), descriptor=BagOfBonds(), alpha=1e-7, optimizer=None),
    "encoded bonds, Gaussian": KRR(
        Gaussian(20.0), descriptor=EncodedBonds(), alpha=1e-7, optimizer=None
    ),
}
#: Seconds for loading and predicting, after the import.
GOAL = 2.0
#: Prints seconds of: the import, loading, predicting; and of the CPU for the last two.
PROGRAM = """
import json, sys, time
import numpy as np
times = [time.perf_counter()]
import kernchem
from kernchem import Structures, load
times.append(time.perf_counter())
with np.load(sys.argv[2]) as arrays:
    molecules = Structures(arrays["numbers"], arrays["positions"], arrays["offsets"])
    expected = arrays["expected"]
start, cpu = time.perf_counter(), time.process_time()
model = load(sys.argv[1])
loaded = time.perf_counter()
predicted = model.predict(molecules)
end = time.perf_counter()
assert (predicted == expected).all()
cpu = time.process_time() - cpu
print(json.dumps([times[1] - times[0], loaded - start, end - loaded, cpu]))
"""


def read_molecules(folder: Path, n: int) -> Structures:
    """Return n molecules of the subset, in an order that is the same everywhere."""
    with np.load(folder / "qm9_subset.npz") as arrays:
        chosen = np.random.default_rng(0).permutation(len(arrays["gfn2"]))[:n]
        numbers, positions = arrays["Z"][chosen].astype(np.int64), arrays["R"][chosen]
        return Structures.from_arrays(
            numbers, positions, properties={"energy": arrays["gfn2"][chosen]}
        )


def fresh_process(model: Path, molecules: Path) -> list[float]:
    """Return the seconds that the program prints."""
    command = [sys.executable, "-c", PROGRAM, str(model), str(molecules)]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def measure(
    name: str, train: Structures, test: Structures, repeats: int, folder: Path
) -> dict[str, str | float]:
    """Fit and save one model, and time those that load it."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # An element that a single molecule holds cannot be left out; nothing is left out here.
        warnings.simplefilter("ignore", KernchemWarning)
        model = MODELS[name].fit(train, train["energy"])
    fitted = time.perf_counter()
    path, molecules = folder / "model.kc", folder / "molecules.npz"
    kernchem.save(model, path, target="energy", unit="Ha")
    saved = time.perf_counter()
    np.savez(
        molecules,
        numbers=test.numbers,
        positions=test.positions,
        offsets=test.offsets,
        expected=model.predict(test),
    )
    columns = model.descriptor_.n_features_out_
    del model
    fresh_process(path, molecules)
    runs = np.array([fresh_process(path, molecules) for _ in range(repeats)])
    importing, loading, predicting, cpu = np.median(runs, axis=0)
    return {
        "model": name,
        "columns": columns,
        "megabytes": path.stat().st_size / 1e6,
        "fit": fitted - start,
        "save": saved - fitted,
        "import": float(importing),
        "load": float(loading),
        "predict": float(predicting),
        "load + predict": statistics.median((runs[:, 1] + runs[:, 2]).tolist()),
        "CPU": float(cpu),
        "goal": GOAL,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with qm9_subset.npz")
    parser.add_argument("--n", type=int, default=10_000, help="molecules to train on")
    parser.add_argument("--m", type=int, default=1000, help="molecules to predict")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    data = read_molecules(arguments.data, arguments.n + arguments.m)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            train, test = data[: arguments.n], data[arguments.n :]
            row = measure(name, train, test, arguments.repeats, Path(folder))
            if not rows:
                print(f"{'model':26}" + "".join(f"{key:>15}" for key in row if key != "model"))
            numbers = "".join(f"{value:15.4g}" for key, value in row.items() if key != "model")
            print(f"{name:26}{numbers}", flush=True)
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
