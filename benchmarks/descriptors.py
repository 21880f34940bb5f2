"""Speed of the global descriptors on all of QM7, beside qmllib in the same run.

One thread: run with OMP_NUM_THREADS=1, on one core. Each figure is the median of CPU seconds for
the features of all molecules; fitting is counted apart. Features are compared first.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kernchem import Structures
from kernchem.descriptors import BagOfBonds, CoulombMatrix, Descriptor, EncodedBonds

DESCRIPTORS = {
    "CM sorted": CoulombMatrix(n_jobs=1),
    "CM unsorted": CoulombMatrix("none", n_jobs=1),
    "CM eigenvalues": CoulombMatrix("eigenspectrum", n_jobs=1),
    "CM random": CoulombMatrix("random", random_state=0, n_jobs=1),
    "BoB": BagOfBonds(n_jobs=1),
    "encoded bonds": EncodedBonds(n_jobs=1),
    "encoded bonds <= 3": EncodedBonds(3, n_jobs=1),
}


def load(folder: Path) -> Structures:
    """Return the molecules of qm7.npz."""
    with np.load(folder / "qm7.npz") as data:
        return Structures.from_arrays(list(data["Z"]), list(data["R"]))


def peers(molecules: Structures) -> dict[str, Callable[[], np.ndarray]]:
    """Return calls of qmllib for the descriptors it has; none where it is not installed."""
    try:
        from qmllib import representations
        from qmllib.representations.bob import get_asize
    except ImportError:
        return {}
    pairs = [(np.array(m.numbers), np.array(m.positions)) for m in molecules]
    size = int(molecules.sizes.max())
    asize = get_asize([numbers for numbers, _ in pairs], 0)

    def each(function: Callable[..., np.ndarray], *arguments: Any, **settings: Any) -> np.ndarray:
        return np.array([function(z, r, *arguments, size=size, **settings) for z, r in pairs])

    matrix, eigenvalues = (
        representations.generate_coulomb_matrix,
        representations.generate_coulomb_matrix_eigenvalue,
    )
    return {
        "CM sorted": lambda: each(matrix),
        "CM unsorted": lambda: each(matrix, sorting="unsorted"),
        "CM eigenvalues": lambda: each(eigenvalues),
        "BoB": lambda: each(representations.generate_bob, None, asize=asize),
    }


def is_same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether each molecule has the same features, in whatever columns and however padded.

    Rows of a symmetric molecule may be ordered in several ways: one in a hundred may differ.
    """
    width = max(ours.shape[1], theirs.shape[1])
    rows = [
        np.sort(np.pad(features, ((0, 0), (0, width - features.shape[1]))), axis=1)
        for features in (ours, theirs)
    ]
    agree = np.isclose(rows[0], rows[1], rtol=1e-8, atol=1e-8).all(axis=1)
    return bool(agree.mean() > 0.99)


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median of CPU seconds of a call."""
    spent = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return statistics.median(spent)


def measure(
    name: str,
    descriptor: Descriptor,
    peer: Callable[[], np.ndarray] | None,
    molecules: Structures,
    repeats: int,
) -> dict[str, Any]:
    """Return the figures of one descriptor."""
    features = descriptor.fit_transform(molecules)
    result = {
        "descriptor": name,
        "features": features.shape[1],
        "fit": seconds(lambda: descriptor.fit(molecules), repeats),
        "transform": seconds(lambda: descriptor.transform(molecules), repeats),
        "qmllib": None,
        "ratio": None,
    }
    if peer is not None:
        if not is_same(features, peer()):
            raise SystemExit(f"{name}: qmllib's features differ from ours")
        result["qmllib"] = seconds(peer, repeats)
        result["ratio"] = result["transform"] / result["qmllib"]
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    molecules = load(arguments.data)
    calls = peers(molecules)
    print(f"{len(molecules)} molecules, {len(molecules.numbers)} atoms; CPU seconds")
    print(f"{'':20}{'columns':>8}{'fit':>9}{'transform':>11}{'qmllib':>9}{'ratio':>8}")
    results = []
    for name, descriptor in DESCRIPTORS.items():
        r = measure(name, descriptor, calls.get(name), molecules, arguments.repeats)
        results.append(r)
        peer = f"{r['qmllib']:9.4f}{r['ratio']:8.3f}" if r["qmllib"] else f"{'-':>9}{'-':>8}"
        print(f"{name:20}{r['features']:8d}{r['fit']:9.4f}{r['transform']:11.4f}{peer}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
