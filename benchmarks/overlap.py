"""Speed of overlap spectra on all of QM7, beside LAPACK alone in the same run.

One thread: run with OMP_NUM_THREADS=1, on one core. Each figure is the median of CPU seconds for
the features of all molecules; fitting is counted apart. LAPACK's time is that of the eigenvalues of
the same matrices, made beforehand: by numpy.linalg.eigvalsh, one call for all matrices of a size,
or by SciPy's dsyevd, one call for each, whichever is faster. Spectra are compared first.

Per atom, a part of the molecules is taken (``--atoms``), as every atom has a matrix.
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
from scipy.linalg import lapack

from kernchem import Structures
from kernchem.descriptors import OverlapEigenvalues, overlap_jit
from kernchem.elements import covalent_radii

VARIANTS = {
    "s, per molecule": OverlapEigenvalues("s", n_jobs=1),
    "sp, per molecule": OverlapEigenvalues("sp", n_jobs=1),
    "s, per atom, 6 A": OverlapEigenvalues("s", r_cut=6.0, n_jobs=1),
    "sp, per atom, 6 A": OverlapEigenvalues("sp", r_cut=6.0, n_jobs=1),
}


def load(folder: Path) -> Structures:
    """Return the molecules of qm7.npz."""
    with np.load(folder / "qm7.npz") as data:
        return Structures.from_arrays(list(data["Z"]), list(data["R"]))


def matrices_of(descriptor: OverlapEigenvalues, molecules: Structures) -> list[np.ndarray]:
    """Return whole matrices, those of one size in one array."""
    roots = np.sqrt(0.5) / covalent_radii()[molecules.numbers]
    n_orbitals = 1 if descriptor.orbitals == "s" else 4
    firsts = np.repeat(molecules.offsets[:-1], molecules.sizes)
    lasts = np.repeat(molecules.offsets[1:], molecules.sizes)
    if descriptor.r_cut is None:
        counts = molecules.sizes
    else:
        counts = np.empty(len(molecules.numbers), dtype=np.int64)
        overlap_jit.count_neighbours(
            molecules.positions, molecules.offsets, descriptor.r_cut, counts
        )
    stacks = []
    for n in np.unique(counts):
        members = np.flatnonzero(counts == n)
        stack = np.zeros((len(members), n * n_orbitals, n * n_orbitals))
        if descriptor.r_cut is None:
            overlap_jit.fill_molecules(
                molecules.positions, roots, molecules.offsets[members], n_orbitals, stack
            )
        else:
            overlap_jit.fill_environments(
                molecules.positions,
                roots,
                firsts[members],
                lasts[members],
                descriptor.r_cut,
                members,
                n_orbitals,
                stack,
            )
        stacks.append(stack + np.tril(stack, -1).transpose(0, 2, 1))
    return stacks


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median of CPU seconds of a call."""
    spent = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return statistics.median(spent)


def by_numpy(stacks: list[np.ndarray]) -> list[np.ndarray]:
    """Return eigenvalues by one call for all matrices of a size."""
    return [np.linalg.eigvalsh(stack) for stack in stacks]


def by_scipy(stacks: list[np.ndarray]) -> list[np.ndarray]:
    """Return eigenvalues by one call of dsyevd for each matrix, which it may destroy a copy of."""
    return [
        np.array([lapack.dsyevd(matrix.T, compute_v=0)[0] for matrix in stack]) for stack in stacks
    ]


def measure(
    name: str, descriptor: OverlapEigenvalues, molecules: Structures, repeats: int
) -> dict[str, Any]:
    """Return the figures of one kind of spectrum."""
    features = descriptor.fit_transform(molecules)
    values = features if descriptor.r_cut is None else features.values
    stacks = matrices_of(descriptor, molecules)
    for routine in (by_numpy, by_scipy):
        expected = np.concatenate([found.ravel() for found in routine(stacks)])
        if not np.allclose(np.sort(values[values != 0.0]), np.sort(expected), atol=1e-12):
            raise SystemExit(f"{name}: {routine.__name__} has other eigenvalues")
    result = {
        "spectra": name,
        "matrices": sum(len(stack) for stack in stacks),
        "fit": seconds(lambda: descriptor.fit(molecules), repeats),
        "transform": seconds(lambda: descriptor.transform(molecules), repeats),
        "numpy": seconds(lambda: by_numpy(stacks), repeats),
        "scipy": seconds(lambda: by_scipy(stacks), repeats),
    }
    result["ratio"] = result["transform"] / min(result["numpy"], result["scipy"])
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--atoms", type=int, default=500, help="molecules for spectra per atom")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    molecules = load(arguments.data)
    some = molecules[:: max(1, len(molecules) // arguments.atoms)]
    print(f"{len(molecules)} molecules, {len(some)} of them per atom; CPU seconds")
    print(f"{'':20}{'matrices':>9}{'fit':>9}{'transform':>11}{'numpy':>9}{'dsyevd':>9}{'ratio':>8}")
    results = []
    for name, descriptor in VARIANTS.items():
        batch = molecules if descriptor.r_cut is None else some
        r = measure(name, descriptor, batch, arguments.repeats)
        results.append(r)
        print(
            f"{name:20}{r['matrices']:9d}{r['fit']:9.4f}{r['transform']:11.4f}{r['numpy']:9.4f}"
            f"{r['scipy']:9.4f}{r['ratio']:8.3f}",
            flush=True,
        )
    start = time.perf_counter()
    groups = OverlapEigenvalues(n_jobs=1).find_duplicates(molecules)
    spent = time.perf_counter() - start
    print(f"find_duplicates: {spent:.2f} s, {len(groups)} groups of {len(molecules)} molecules")
    results.append({"find_duplicates": spent, "groups": groups})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
