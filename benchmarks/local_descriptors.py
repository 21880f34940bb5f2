"""Speed and memory of descriptors of atoms, of SLATM and of a kernel between atoms, beside peers.

The features of 1000 molecules of QM7 by SOAP and ACSF (beside DScribe), FCHL19 and SLATM (beside
qmllib), and the sum kernel of Gaussians between the FCHL19 features of 500 molecules and of 500
others (beside qmllib).

One thread: run with OMP_NUM_THREADS=1, and taskset on a busy machine. Times are CPU seconds, the
least of the repeats, in which kernchem and the peer take turns. The peer of the kernel takes a
minute or two: it runs once. Its dgemm column is the rate of the kernel against that of the matrix
products of the features of atoms of the same element.

Memory is the growth of the peak of a fresh process over one call, MiB, output included: every case
runs once more for ours, and once more for the peer. A case whose packages are absent is left out.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernchem import Structures

SEED = 42
SPECIES = ("H", "C", "N", "O", "S")
ELEMENTS = (1, 6, 7, 8, 16)
KERNEL_WIDTH = 20.0
#: Molecules of the call before the measured one, which compiles and loads what there is to load.
N_WARM = 12


@dataclass(frozen=True)
class Case:
    """Calls that are compared; results are arrays, lists of blocks of rows, or environments."""

    peer: str
    goal: float
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    dgemm: Callable[[], Any] | None = None
    is_slow: bool = False


def load(folder: Path, n: int) -> Structures:
    """Return molecules of qm7.npz, drawn at random."""
    with np.load(folder / "qm7.npz") as data:
        chosen = np.random.RandomState(SEED).permutation(len(data["Z"]))[:n]
        return Structures.from_arrays(list(data["Z"][chosen]), list(data["R"][chosen]))


def pairs_of(molecules: Structures) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return atomic numbers and positions of each molecule, as qmllib takes them."""
    return [(np.array(m.numbers), np.array(m.positions)) for m in molecules]


def soap(molecules: Structures) -> Case:
    """Power spectra with 8 radial functions and angular momenta up to 6."""
    from dscribe import descriptors as peers

    from kernchem.descriptors import SOAP

    settings = {"r_cut": 6.0, "n_max": 8, "l_max": 6, "sigma": 0.4}
    ours = SOAP(**settings, normalise=False, n_jobs=1).fit(molecules)
    theirs = peers.SOAP(species=elements_of(molecules), periodic=False, **settings)
    atoms = molecules.to_ase()
    return Case("DScribe", 0.35, lambda: ours.transform(molecules), lambda: create(theirs, atoms))


def acsf(molecules: Structures) -> Case:
    """Ten radial functions per element and ten angular ones per pair of elements."""
    from dscribe import descriptors as peers

    from kernchem.descriptors import ACSF

    g2 = [(eta, shift) for eta in np.linspace(0.05, 4.0, 5) for shift in (0.0, 2.0)]
    shapes = [(1, 1), (1, -1), (2, 1), (4, -1), (4, 1)]
    g4 = [(eta, zeta, sign) for eta in (0.005, 0.05) for zeta, sign in shapes]
    ours = ACSF(6.0, g2=g2, g4=g4, species=SPECIES, n_jobs=1).fit(molecules)
    theirs = peers.ACSF(species=SPECIES, r_cut=6.0, g2_params=g2, g4_params=g4, periodic=False)
    atoms = molecules.to_ase()
    return Case("DScribe", 0.25, lambda: ours.transform(molecules), lambda: create(theirs, atoms))


def fchl19(molecules: Structures) -> Case:
    """Default FCHL19 features."""
    from qmllib.representations import generate_fchl19

    from kernchem.descriptors import FCHL19

    ours, pairs = FCHL19(n_jobs=1).fit(molecules), pairs_of(molecules)
    elements = list(molecules.elements)
    return Case(
        "qmllib",
        0.35,
        lambda: ours.transform(molecules),
        lambda: [generate_fchl19(z, r, elements=elements, pad=False) for z, r in pairs],
    )


def slatm(molecules: Structures) -> Case:
    """Default SLATM features of molecules, of the types of bonds and angles that ours holds."""
    from qmllib.representations import generate_slatm

    from kernchem.descriptors import SLATM

    ours, pairs = SLATM(n_jobs=1).fit(molecules), pairs_of(molecules)
    return Case(
        "qmllib",
        0.35,
        lambda: ours.transform(molecules),
        lambda: [generate_slatm(z, r, ours.types_) for z, r in pairs],
    )


def atom_sum(molecules: Structures) -> Case:
    """Sum kernel of Gaussians, half of the molecules against the other half."""
    from qmllib.kernels import get_local_kernel

    from kernchem.descriptors import FCHL19
    from kernchem.kernels import AtomSum, Gaussian

    features = FCHL19(n_jobs=1).fit_transform(molecules)
    half = len(molecules) // 2
    rows, columns = features[:half], features[half:]
    size = int(molecules.sizes.max())

    def padded(batch: Any) -> np.ndarray:
        out = np.zeros((len(batch), size, batch.n_features))
        for k, item in enumerate(batch):
            out[k, : len(item.numbers)] = item.values
        return out

    X, Y = padded(rows), padded(columns)
    numbers = [[np.array(item.numbers) for item in batch] for batch in (rows, columns)]
    same = [
        [np.ascontiguousarray(batch.values[batch.numbers == z]) for batch in (rows, columns)]
        for z in molecules.elements
    ]
    kernel = AtomSum(Gaussian(KERNEL_WIDTH), n_jobs=1)
    return Case(
        "qmllib",
        1.0 / 50.0,
        lambda: kernel(rows, columns),
        # Its rows are those of the second batch.
        lambda: get_local_kernel(X, Y, *numbers, KERNEL_WIDTH).T,
        lambda: [a @ b.T for a, b in same],
        is_slow=True,
    )


CASES = {
    "SOAP": soap,
    "ACSF": acsf,
    "FCHL19": fchl19,
    "SLATM": slatm,
    "AtomSum(Gaussian)": atom_sum,
}


def elements_of(molecules: Structures) -> list[int]:
    """Return the atomic numbers of a batch, as DScribe takes them."""
    return [int(number) for number in molecules.elements]


def create(peer: Any, atoms: list[Any]) -> list[np.ndarray]:
    """Return DScribe's features, which are one array if all molecules have as many atoms."""
    return list(peer.create(atoms, n_jobs=1))


def array_of(result: Any) -> Any:
    """Return an array, or a list of them."""
    return getattr(result, "values", result)


def size_of(result: Any) -> float:
    """Return the size of a result, MiB."""
    values = array_of(result)
    blocks = [values] if isinstance(values, np.ndarray) else values
    return sum(block.nbytes for block in blocks) / 2**20


def largest_difference(ours: Any, theirs: Any) -> float | None:
    """Return the largest difference of two results; None if they have other shapes."""
    values, start, largest = array_of(ours), 0, 0.0
    for item in theirs:
        block = np.atleast_2d(item)
        own = values[start : start + len(block)]
        if own.shape != block.shape:
            return None
        largest = max(largest, float(np.abs(own - block).max()))
        start += len(block)
    return largest if start == len(values) else None


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


# -- memory ----------------------------------------------------------------------------------------


def peak() -> float:
    """Return the peak of this process, MiB.

    Linux hands the peak of the parent down to the child in ru_maxrss, so its own is read from /proc
    where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 2**10
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (2**20 if sys.platform == "darwin" else 2**10)


def measure_alone(arguments: argparse.Namespace) -> None:
    """Run one side of one case in this process, and print its figures."""
    name, side, file = arguments.alone
    molecules = load(arguments.data, arguments.molecules)
    getattr(CASES[name](molecules[:N_WARM]), side)()
    call = getattr(CASES[name](molecules), side)
    # The peak so far may belong to the compiler, and hide that of the call.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak()
    seconds, result = timed(call)
    figures = {"seconds": seconds, "memory_mib": peak() - before, "output_mib": size_of(result)}
    if file != "-":
        np.save(file, array_of(result))
    print(json.dumps(figures))


def alone(arguments: argparse.Namespace, name: str, side: str, file: str = "-") -> dict[str, Any]:
    """Return the figures of one side of a case in a fresh process."""
    command = [sys.executable, __file__, "--data", str(arguments.data)]
    command += ["--molecules", str(arguments.molecules), "--alone", name, side, file]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# -- the table -------------------------------------------------------------------------------------


def measure(name: str, molecules: Structures, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a case."""
    CASES[name](molecules[:N_WARM]).ours()
    case = CASES[name](molecules)
    row: dict[str, Any] = {"case": name, "peer": case.peer, "goal": case.goal}
    ours, theirs, gemm, result, expected = np.inf, np.inf, np.inf, None, None
    if case.is_slow:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "peer.npy"))
            figures = alone(arguments, name, "theirs", file)
            expected = np.load(file)
        theirs, row["peer_mib"] = figures["seconds"], figures["memory_mib"]
    for _ in range(arguments.repeats):
        seconds, result = timed(case.ours)
        ours = min(ours, seconds)
        if not case.is_slow:
            seconds, expected = timed(case.theirs)
            theirs = min(theirs, seconds)
        if case.dgemm is not None:
            gemm = min(gemm, timed(case.dgemm)[0])
    row |= {"ours_s": ours, "peer_s": theirs, "ratio": ours / theirs}
    row["dgemm"] = None if case.dgemm is None else gemm / ours
    row["largest_difference"] = largest_difference(result, expected)
    row["largest_value"] = float(max(array_of(result).max(), -array_of(result).min()))
    row["output_mib"] = size_of(result)
    if arguments.memory:
        row["ours_mib"] = alone(arguments, name, "ours")["memory_mib"]
        if not case.is_slow:
            row["peer_mib"] = alone(arguments, name, "theirs")["memory_mib"]
    return row


def shown(value: float | None, width: int, form: str) -> str:
    """Return a figure, or a dash where there is none."""
    return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of qm7.npz")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        measure_alone(arguments)
        return

    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("OMP_NUM_THREADS is not 1: threads of the peers that wait count as CPU seconds")
    molecules = load(arguments.data, arguments.molecules)
    print(f"{len(molecules)} molecules, {len(molecules.numbers)} atoms; CPU seconds, MiB")
    print(
        f"{'case':18s} {'peer':8s} {'ours s':>8s} {'peer s':>8s} {'ratio':>6s} {'goal':>5s}", end=""
    )
    print(f" {'dgemm':>5s} {'largest difference':>19s} {'of':>8s}", end="")
    print(f" {'output':>7s} {'ours':>7s} {'peer':>7s}")
    rows = []
    for name in arguments.cases:
        try:
            row = measure(name, molecules, arguments)
        except ImportError as error:
            print(f"{name:18s} left out: {error}", flush=True)
            continue
        rows.append(row)
        print(
            f"{name:18s} {row['peer']:8s} {row['ours_s']:8.3f} {row['peer_s']:8.3f} "
            f"{row['ratio']:6.3f} {row['goal']:5.2f} {shown(row['dgemm'], 5, '.2f')} "
            f"{shown(row['largest_difference'], 19, '.1e')} {row['largest_value']:8.2g} "
            f"{row['output_mib']:7.0f} {shown(row.get('ours_mib'), 7, '.0f')} "
            f"{shown(row.get('peer_mib'), 7, '.0f')}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
