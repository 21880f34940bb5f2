"""A search of 20 length scales and 48 regularisers beside scikit-learn's GridSearchCV.

Sorted Coulomb matrices of QM7, Gaussian kernel, PBE0 atomisation energies. ``LeaveOneOutSearch``
gives all 960 candidates their exact leave-one-out error and the 20 best their exact 5-fold error;
``GridSearchCV`` of ``KernelRidge`` gives all of them the latter by refits. It is timed on a few
candidates and extrapolated: its time is proportional to their number. Before that, the time for the
48 regularisers of one length scale by the decomposition that the search uses, by eigenvectors, and
by a Cholesky factor for each.

One thread: run with OMP_NUM_THREADS=1, and taskset on a busy machine. CPU seconds.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.linalg import eigh
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold

from kernchem import KRR, Structures
from kernchem.descriptors import CoulombMatrix
from kernchem.kernels import Gaussian
from kernchem.models import LeaveOneOutSearch
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, RegularisationPath

N_SCALES, N_ALPHAS, N_BEST = 20, 48, 20
GOAL = 1.0 / 12.0
#: Samples of the comparison of winners.
N_ALIKE = 300


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features in random order, and labels less their mean."""
    with np.load(folder / "qm7.npz") as data:
        order = np.random.default_rng(0).permutation(len(data["e_pbe0"]))
        molecules = Structures.from_arrays(data["Z"][order], data["R"][order])
        labels = data["e_pbe0"][order]
    return CoulombMatrix().fit_transform(molecules), labels - labels.mean()


def by_eigenvectors(K: np.ndarray, y: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return leave-one-out residuals (n, n_alphas)."""
    values, vectors = eigh(K, driver="evd", overwrite_a=True, check_finite=False)
    inverses = 1.0 / (values[:, None] + alphas)
    duals = vectors @ (inverses * (vectors.T @ y))
    return duals / (vectors**2 @ inverses)


def one_scale(X: np.ndarray, y: np.ndarray, alphas: np.ndarray) -> dict:
    """Return CPU seconds for all regularisers of one length scale."""
    K, column = Gaussian(200.0)(X), y[:, None]
    one = len(alphas) // 4
    start = time.process_time()
    residuals = RegularisationPath(K.copy(), column).loo(alphas)[0]
    path = time.process_time() - start
    start = time.process_time()
    peer = by_eigenvectors(K.copy(), column, alphas)
    eigenvectors = time.process_time() - start
    start = time.process_time()
    factor = CholeskyFactor(K, alphas[one])
    expected = GeneralisedLeastSquares(factor, column).loo()[0]
    cholesky = (time.process_time() - start) * len(alphas)
    scale = np.abs(expected).max()
    return {
        "n": len(y),
        "path": path,
        "eigenvectors": eigenvectors,
        "cholesky": cholesky,
        "difference": float(np.abs(residuals[one] - expected).max() / scale),
        "difference_of_eigenvectors": float(np.abs(peer[:, [one]] - expected).max() / scale),
    }


def choose_alike(X: np.ndarray, y: np.ndarray, folds: KFold) -> bool:
    """Return whether both searches choose the same of a few candidates, all with folds."""
    scales, alphas = np.geomspace(50.0, 800.0, 5), np.geomspace(1e-7, 1e-2, 6)
    search = LeaveOneOutSearch(
        KRR(Gaussian()), length_scales=scales, alphas=alphas, cv=folds, n_best=30
    ).fit(X, y)
    grid = {"gamma": 0.5 / scales**2, "alpha": alphas}
    peer = GridSearchCV(
        KernelRidge(kernel="rbf"), grid, cv=folds, scoring="neg_mean_absolute_error"
    ).fit(X, y)
    scale = search.best_params_["kernel"].length_scale
    return bool(
        np.isclose(0.5 / scale**2, peer.best_params_["gamma"])
        and np.isclose(search.best_params_["alpha"], peer.best_params_["alpha"])
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--n", type=int, default=5000, help="samples")
    parser.add_argument(
        "--one-scale", type=int, nargs="*", default=[1000, 2000], help="samples with one scale"
    )
    parser.add_argument("--candidates", type=int, default=3, help="candidates of the peer")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    everything = load(arguments.data)
    X, y = (part[: arguments.n] for part in everything)
    folds = KFold(5, shuffle=True, random_state=0)
    scales = np.geomspace(20.0, 2000.0, N_SCALES)
    alphas = np.geomspace(1e-10, 1e-1, N_ALPHAS)
    LeaveOneOutSearch(KRR(Gaussian()), length_scales=2, alphas=2).fit(X[:50], y[:50])

    alike = choose_alike(*(part[:N_ALIKE] for part in everything), folds)
    print(f"{N_ALIKE} samples, 30 candidates: " + ("the same" if alike else "another") + " winner")
    by_size = []
    for size in arguments.one_scale:
        found = one_scale(*(part[:size] for part in everything), alphas)
        by_size.append(found)
        print(f"{size} samples, one scale, {N_ALPHAS} alphas: {found['path']:.2f} s; eigenvectors "
              f"{found['eigenvectors']:.2f} s, Cholesky {found['cholesky']:.2f} s")  # fmt: skip
        print(f"  residuals differ by {found['difference']:.0e} of the largest, those of "
              f"eigenvectors by {found['difference_of_eigenvectors']:.0e}")  # fmt: skip

    start = time.process_time()
    search = LeaveOneOutSearch(
        KRR(Gaussian()), length_scales=scales, alphas=alphas, cv=folds, n_best=N_BEST
    ).fit(X, y)
    seconds = time.process_time() - start

    best = search.cv_results_
    order = np.argsort(best["rank_test_score"])[: arguments.candidates]
    start = time.process_time()
    errors = []
    for k in order:
        grid = {
            "gamma": [0.5 / best["param_length_scale"][k] ** 2],
            "alpha": [best["param_alpha"][k]],
        }
        peer = GridSearchCV(
            KernelRidge(kernel="rbf"), grid, cv=folds, refit=False,
            scoring="neg_mean_absolute_error",
        ).fit(X, y)  # fmt: skip
        errors.append(-peer.best_score_)
    each = (time.process_time() - start) / len(order)
    n_candidates = N_SCALES * N_ALPHAS
    result = {
        "same_winner": alike,
        "one_scale": by_size,
        "n": len(y),
        "seconds": seconds,
        "peer_seconds_per_candidate": each,
        "peer_seconds": each * n_candidates,
        "ratio": seconds / (each * n_candidates),
        "goal": GOAL,
        "best_length_scale": float(best["param_length_scale"][order[0]]),
        "best_alpha": float(best["param_alpha"][order[0]]),
        "cv_error": float(best["cv_error"][order[0]]),
        "largest_difference_of_errors": float(
            np.abs(best["cv_error"][order] - np.array(errors)).max()
        ),
    }
    print(f"{result['n']} samples, {n_candidates} candidates: {seconds:.0f} s; GridSearchCV "
          f"{each:.2f} s per candidate, {each * n_candidates:.0f} s for all (extrapolated from "
          f"{len(order)})")  # fmt: skip
    print(f"ratio 1/{1 / result['ratio']:.1f} (goal 1/{1 / GOAL:.0f})")
    print(f"best: length scale {result['best_length_scale']:.4g}, "
          f"alpha {result['best_alpha']:.2e}, 5-fold MAE {result['cv_error']:.3f}")  # fmt: skip
    print(f"the peer's errors differ by {result['largest_difference_of_errors']:.1e} at most")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
