"""MP2 energies from few MP2 labels and many of B3LYP, on molecules of QM9.

The folder of ``--qm9`` holds ``qm9_subset.npz``: MP2 binding energies of 6954 molecules, B3LYP
energies of 16,146, and 1261 molecules with both.

Protocol, for each seed: of the molecules with both, 400 are the test set, and none of their labels
is in any training set (but for the rows "known"). One level: N MP2 labels, of all molecules that
have one. Two levels: n MP2 labels of the other molecules with both, and N_low B3LYP labels, those
of the same n molecules among them. "known" also gives the model the B3LYP labels of the test
molecules, as delta-learning has them.

MAE in kcal/mol, mean over seeds. Element counts are fitted at each level. One thread: run with
OMP_NUM_THREADS=1.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kernchem import GPR, MultiFidelityGPR, Structures
from kernchem.descriptors import SLATM, BagOfBonds, CoulombMatrix, EncodedBonds
from kernchem.errors import KernchemWarning

KCAL = 627.509474
N_TEST = 400
MODELS: dict[str, dict[str, Any]] = {
    "CM": {"kernel": "laplacian", "descriptor": CoulombMatrix()},
    "BoB": {"kernel": "laplacian", "descriptor": BagOfBonds()},
    "EB3": {"kernel": "gaussian", "descriptor": EncodedBonds(max_bonds=3)},
    "SLATM": {"kernel": "gaussian", "descriptor": SLATM()},
    "composite": {"kernel": "composite"},
}


def load(folder: Path) -> tuple[Structures, np.ndarray, np.ndarray]:
    """Return molecules with either label, and labels of B3LYP and MP2 in kcal/mol."""
    with np.load(folder / "qm9_subset.npz") as data:
        low, high = data["e_elec"] * KCAL, data["mp2_binding"] * KCAL
        rows = np.flatnonzero(np.isfinite(low) | np.isfinite(high))
        molecules = Structures.from_arrays(data["Z"][rows], data["R"][rows])
    return molecules, low[rows], high[rows]


class Study:
    """Errors on one random split."""

    def __init__(self, molecules: Structures, low: np.ndarray, high: np.ndarray, seed: int) -> None:
        self.molecules, self.low, self.high = molecules, low, high
        rng = np.random.default_rng(seed)
        both = rng.permutation(np.flatnonzero(np.isfinite(low) & np.isfinite(high)))
        self.test, self.both = both[:N_TEST], both[N_TEST:]
        mine = np.isin(np.arange(len(low)), self.test)
        self.with_low = rng.permutation(np.flatnonzero(np.isfinite(low) & ~mine))
        self.with_high = rng.permutation(np.flatnonzero(np.isfinite(high) & ~mine))

    def _judged(self, model: Any, rows: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KernchemWarning)
            model.fit(self.molecules[rows], y)
            mean, std = model.predict(self.molecules[self.test], return_std=True)
        error = np.abs(mean - self.high[self.test])
        return {
            "mae": float(error.mean()),
            "rmse": float(np.sqrt(np.mean(error**2))),
            "within": float(np.mean(error < std)),
            "seconds": time.process_time() - start,
            "rho": getattr(model, "rho_", np.zeros(0)).tolist(),
        }

    def one_level(self, settings: dict[str, Any], n: int) -> dict[str, Any]:
        """Return errors of n MP2 labels alone."""
        rows = self.with_high[:n]
        return self._judged(GPR(**settings), rows, self.high[rows])

    def two_levels(
        self, settings: dict[str, Any], method: str, n: int, n_low: int, *, known: bool
    ) -> dict[str, Any]:
        """Return errors of n MP2 labels and n_low of B3LYP."""
        dear = self.both[:n]
        others = self.with_low[~np.isin(self.with_low, dear)][: n_low - n]
        rows = np.concatenate([dear, others, self.test if known else dear[:0]])
        y = np.stack([self.low[rows], np.full(len(rows), np.nan)], axis=1)
        y[:n, 1] = self.high[dear]
        return self._judged(MultiFidelityGPR(method=method, **settings), rows, y)


def table(found: list[dict[str, Any]]) -> str:
    """Return means over seeds as text."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in found:
        key = one["model"], one["method"], one["n_low"], one["known"], one["n"]
        groups.setdefault(key, []).append(one)
    head = f"{'model':10} {'method':10} {'B3LYP':>6} {'known':>6} {'MP2':>5} {'MAE':>7} {'sem':>5} "
    lines = [head + f"{'RMSE':>7} {'in 1 sd':>8} {'rho':>7} {'s':>6}"]
    for (model, method, n_low, known, n), own in groups.items():
        maes = [one["mae"] for one in own]
        sem = np.std(maes) / np.sqrt(max(len(own) - 1, 1))
        rmse, within, seconds = (
            np.mean([one[name] for one in own]) for name in ("rmse", "within", "seconds")
        )
        rho = np.mean([one["rho"] for one in own if one["rho"]] or [np.nan])
        lines.append(
            f"{model:10} {method:10} {n_low:6d} {'yes' if known else '':>6} {n:5d} "
            f"{np.mean(maes):7.2f} {sem:5.2f} {rmse:7.2f} {within:8.2f} {rho:7.3f} {seconds:6.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--qm9", type=Path, required=True, help="folder with qm9_subset.npz")
    parser.add_argument("--models", nargs="+", default=["CM", "BoB"], choices=list(MODELS))
    parser.add_argument("--methods", nargs="+", default=["recursive"])
    parser.add_argument("--one-level", nargs="*", type=int, default=[250, 1000], metavar="N")
    parser.add_argument("--dear", nargs="+", type=int, default=[64, 125, 250], metavar="n")
    parser.add_argument("--cheap", nargs="+", type=int, default=[1000, 2000], metavar="N_low")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args()
    molecules, low, high = load(given.qm9)
    found: list[dict[str, Any]] = []
    for name in given.models:
        for seed in range(given.seeds):
            study, settings = Study(molecules, low, high, seed), MODELS[name]
            common = {"model": name, "seed": seed}
            for n in given.one_level:
                own = {"method": "one level", "n_low": 0, "known": False, "n": n}
                found.append({**common, **own, **study.one_level(settings, n)})
            for method in given.methods:
                for n_low in given.cheap:
                    for known in (False, True):
                        for n in given.dear:
                            own = {"method": method, "n_low": n_low, "known": known, "n": n}
                            errors = study.two_levels(settings, method, n, n_low, known=known)
                            found.append({**common, **own, **errors})
        print(table([one for one in found if one["model"] == name]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
