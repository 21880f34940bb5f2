"""Errors by number of labels for every selection strategy, against random choice; and speed.

A pool is all molecules but 1000 random ones, which test. Each strategy chooses from nothing, with
the composition baseline, in a kernel whose width comes from distances in the pool; KRR then chooses
its hyperparameters by leave-one-out errors at every budget. Random choice is drawn once per seed.
Molecules with sulfur are left out: few random labels need not hold any. Tables hold means over
seeds of errors in kcal/mol, their ratios to random choice, and the largest ratio of any seed.
``--matrix`` is for kernels of atoms: the kernel matrix of all molecules is computed twice, with the
width that distances between 500 random ones suggest for selectors, and with that which KRR chooses
for them for models, which then choose the regulariser only. ``--warm N`` labels N random molecules
first and selects in the kernel of a model fitted to them. ``--promise`` prints the mean posterior
standard deviation of the test molecules in the kernel of the selectors in place of errors: what a
model would gain whose kernel and noise were exactly right.

``--speed`` times large pools of random features (Gaussian kernel, 16 features) instead, and tells
the mean posterior standard deviation that the picks leave.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.gaussian_process.kernels import Kernel

from kernchem import KRR, Structures
from kernchem.descriptors import FCHL19, BagOfBonds, CoulombMatrix, Descriptor
from kernchem.kernels import Gaussian
from kernchem.sampling import BatchSelector
from kernchem.sampling.covariance import Covariance
from kernchem.sampling.inputs import Gathered, gather, reduced
from kernchem.sampling.strategies import STRATEGIES

HARTREE = 627.509474
DESCRIPTORS = {
    "BoB": BagOfBonds,
    "CM": CoulombMatrix,
    "FCHL19": lambda: FCHL19(r_cut=4.0, a_cut=4.0),
}
MEASURES = ("mae", "rmse", "p95", "max", "std")


class Numbered(Descriptor):
    """The number of a molecule among those whose kernel matrix is known, as its only feature."""

    citation = recommended_kernel = ""
    #: Number of each molecule, by its geometry.
    known: dict[bytes, int]

    def _learn(self, structures: Structures) -> None:
        self.n_features_out_ = 1

    def _compute(self, structures: Structures) -> np.ndarray:
        found = [self.known[one.positions.tobytes()] for one in structures]
        return np.array(found, dtype=np.float64)[:, None]

    def _feature_names(self) -> list[str]:
        return ["number"]


class Stored(Kernel):
    """A kernel matrix of all molecules, looked up by their numbers."""

    matrices: ClassVar[dict[str, np.ndarray]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Return the matrix of some molecules, and that there are no slopes."""
        rows = np.asarray(X)[:, 0].astype(int)
        columns = rows if Y is None else np.asarray(Y)[:, 0].astype(int)
        K = self.matrices[self.name][np.ix_(rows, columns)]
        return (K, np.zeros((*K.shape, 0))) if eval_gradient else K

    def diag(self, X: Any) -> np.ndarray:
        """Return the diagonal of the matrix of some molecules."""
        return np.diagonal(self.matrices[self.name])[np.asarray(X)[:, 0].astype(int)]

    def is_stationary(self) -> bool:
        """Return False, as scikit-learn asks."""
        return False


def store(make: Any, data: Structures, labels: np.ndarray) -> tuple[Any, Any, Any]:
    """Compute kernel matrices of all molecules; return what looks them up.

    As a descriptor, the kernel of selectors and the kernel of models.
    """
    clock = time.perf_counter()
    rows = np.random.default_rng(999).permutation(len(data))[:500]
    features = make().fit_transform(data)
    kernels = {
        "selector": gather(
            data[rows], None, None, kernel=None, descriptor=make(), composition="auto", noise=None
        ).kernel.kernel,
        "model": KRR(descriptor=make()).fit(data[rows], labels[rows]).kernel_,
    }
    for name, kernel in kernels.items():
        Stored.matrices[name] = kernel(features)
        print(f"{name}: {kernel}, {time.perf_counter() - clock:.0f} s", flush=True)
    Numbered.known = {one.positions.tobytes(): k for k, one in enumerate(data)}
    return Numbered, Stored("selector"), Stored("model")


def load(name: str, folder: Path) -> tuple[Structures, np.ndarray]:
    """Return molecules and energies in kcal/mol; those with a rare element are left out."""
    with np.load(folder / {"qm7": "qm7.npz", "qm9": "qm9_subset.npz"}[name]) as data:
        labels = data["e_pbe0"] if name == "qm7" else HARTREE * data["u0"]
        # A few labels at random need not hold sulfur, which 4 % of QM7 have, and no model of them
        # could predict it.
        known = np.isfinite(labels) & ~(data["Z"] == 16).any(axis=1)
        return Structures.from_arrays(data["Z"][known], data["R"][known]), labels[known]


def errors(features: dict, rows: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Fit to some molecules and return the errors on others."""
    data, labels = features["data"], features["labels"]
    model = KRR(features["kernel"], descriptor=features["descriptor"]())
    model.fit(data[rows], labels[rows])
    found = np.abs(model.predict(data[test]) - labels[test])
    return {
        "mae": float(found.mean()),
        "rmse": float(np.sqrt((found**2).mean())),
        "p95": float(np.quantile(found, 0.95)),
        "max": float(found.max()),
    }


def promised(given: Gathered, rows: np.ndarray, n_test: int) -> dict[str, float]:
    """Return the mean posterior standard deviation of the last molecules, given labels of some."""
    n_rows = len(given.kernel)
    left = Covariance(given.kernel, n_rows, rows, given.noise, reduced(given.basis)).diagonal
    return {"std": float(np.sqrt(left[n_rows - n_test :]).mean())}


def study(arguments: argparse.Namespace) -> None:
    """Print tables of errors, or of what the kernel of the selectors promises."""
    data, labels = load(arguments.data, arguments.folder)
    results = []
    end = time.perf_counter() + arguments.limit
    for name in arguments.descriptors:
        make, known, kernel = DESCRIPTORS[name], None, None
        if arguments.matrix:
            make, known, kernel = store(make, data, labels)
        features = {"data": data, "labels": labels, "descriptor": make, "kernel": kernel}
        for seed in arguments.seeds:
            order = np.random.default_rng(seed).permutation(len(data))
            test, pool = order[:1000], order[1000:]
            pool = pool[: arguments.pool]
            start = np.zeros(0, dtype=int)
            settings = {"descriptor": make(), "kernel": known, "noise": arguments.noise}
            if arguments.warm:
                start = np.arange(arguments.warm)
                model = KRR(kernel, descriptor=make()).fit(data[pool[start]], labels[pool[start]])
                settings = {"kernel": model, "noise": arguments.noise}
            if arguments.promise:
                both = np.concatenate([pool, test])
                given = gather(data[both], None, None, composition="auto", **settings)
            for strategy in arguments.strategies:
                if time.perf_counter() > end:
                    print(f"stopped after {arguments.limit} s, within seed {seed}")
                    report(results)
                    return
                clock = time.perf_counter()
                selector = BatchSelector(
                    strategy, random_state=seed, rank=arguments.rank, **settings
                )
                selector.fit(data[pool], start)
                picks = selector.select(max(arguments.budgets) - len(start))
                seconds = time.perf_counter() - clock
                chosen = np.concatenate([start, picks])
                for budget in arguments.budgets:
                    rows = chosen[:budget]
                    if arguments.promise:
                        row = promised(given, rows, len(test))
                    else:
                        row = errors(features, pool[rows], test)
                    results.append(
                        row
                        | {"descriptor": name, "seed": seed, "strategy": strategy}
                        | {"budget": budget, "seconds": seconds}
                    )
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    report(results)


def report(results: list[dict]) -> None:
    """Print means over the seeds that a strategy and random choice share."""
    for name in dict.fromkeys(row["descriptor"] for row in results):
        own = [row for row in results if row["descriptor"] == name]
        budgets = sorted({row["budget"] for row in own})
        print(f"\n{name}: ratio to random choice, largest ratio of a seed")
        print("(random: kcal/mol, and std in units of the kernel)")
        print(f"{'strategy':10}{'':6}{'seeds':6}" + "".join(f"{b:>13}" for b in budgets))
        for strategy in dict.fromkeys(row["strategy"] for row in own):
            for measure in (one for one in MEASURES if one in own[0]):
                found = {
                    kind: {
                        (row["seed"], row["budget"]): row[measure]
                        for row in own
                        if row["strategy"] == kind
                    }
                    for kind in (strategy, "random")
                }
                seeds = {seed for seed, _ in found[strategy]}
                cells = [_cell(found[strategy], found["random"], seeds, b) for b in budgets]
                print(f"{strategy:10}{measure:6}{len(seeds):<6}" + "".join(cells))


def _cell(found: dict, random: dict, seeds: set, budget: int) -> str:
    both = [(s, budget) for s in seeds if (s, budget) in found and (s, budget) in random]
    if not both:
        return f"{'':13}"
    mean = np.mean([random[key] for key in both])
    if found == random:
        return f"{mean:13.3f}" if mean < 1.0 else f"{mean:13.2f}"
    ratio = np.mean([found[key] for key in both]) / mean
    return f"{ratio:7.3f} {max(found[key] / random[key] for key in both):5.2f}"


def deviation(kernel: Kernel, noise: float, X: np.ndarray, rows: np.ndarray) -> float:
    """Return the mean posterior standard deviation of up to 5000 random rows, given labels."""
    some = X[np.random.default_rng(1).permutation(len(X))[:5000]]
    lower = np.linalg.cholesky(kernel(X[rows]) + noise * np.eye(len(rows)))
    half = solve_triangular(lower, kernel(X[rows], some), lower=True)
    return float(np.sqrt(np.maximum(kernel.diag(some) - (half**2).sum(axis=0), 0.0)).mean())


def speed(n_rows: int) -> None:
    """Print the times of large pools, and what picks leave to be learnt."""
    X = np.random.default_rng(0).normal(size=(n_rows, 16))
    kernel, noise = Gaussian(4.0), 1e-4
    random = deviation(kernel, noise, X, np.arange(1000))
    for strategy, rank in (("maxvar", None), ("ivr", 2000), ("isd", 2000)):
        clock = time.perf_counter()
        selector = BatchSelector(strategy, kernel=kernel, rank=rank, noise=noise).fit(X)
        fitted = time.perf_counter()
        selector.select(1000)
        done = time.perf_counter()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        left = deviation(kernel, noise, X, selector.selected_) / random
        print(f"{strategy:8} {n_rows} rows, 1000 picks: preparation {fitted - clock:.1f} s, "
              f"picks {done - fitted:.1f} s, peak {memory:.2f} GiB, "
              f"mean deviation {left:.3f} of that of 1000 random rows", flush=True)  # fmt: skip
        # Or the next one would be charged with the memory of both.
        del selector


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["qm7", "qm9"], default="qm7")
    parser.add_argument("--folder", type=Path, help="folder that holds qm7.npz or qm9_subset.npz")
    parser.add_argument("--descriptors", nargs="+", default=["BoB"], choices=DESCRIPTORS)
    parser.add_argument("--strategies", nargs="+", default=sorted(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--budgets", type=int, nargs="+", default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pool", type=int, default=None, help="molecules of the pool at most")
    parser.add_argument("--rank", type=int, default=None)
    parser.add_argument("--noise", type=float, default=None)
    parser.add_argument("--warm", type=int, default=0, metavar="N")
    parser.add_argument("--matrix", action="store_true", help="see above")
    parser.add_argument("--promise", action="store_true", help="see above")
    parser.add_argument("--limit", type=float, default=1e9, metavar="SECONDS")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument(
        "--report", type=Path, nargs="+", metavar="JSON", help="print the table of earlier runs"
    )
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    if arguments.report:
        report([row for path in arguments.report for row in json.loads(path.read_text())])
        return
    if arguments.promise and arguments.warm:
        parser.error("--promise is for selectors without labels: leave out --warm")
    if arguments.speed:
        speed(arguments.rows)
        return
    arguments.strategies = ["random", *(s for s in arguments.strategies if s != "random")]
    study(arguments)


if __name__ == "__main__":
    main()
