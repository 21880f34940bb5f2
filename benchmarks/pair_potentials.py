"""Pair potentials as baselines on QM7: direct, with standard and with chosen parameters.

PBE0 atomisation energies, 500 molecules to learn from and all others to test; seed r permutes by
``numpy.random.default_rng(r)``. Baselines with a slope each are subtracted from the labels:

- direct: none;
- before: with the parameters that they have;
- after: with those of ``choose_parameters``, for the kernel of the direct model, and once more for
  that of the model fitted with the first choice.

The model is fitted anew to what they leave, hyperparameters included. ``LOO`` is its mean absolute
leave-one-out error (baselines held), ``MAE`` that on the other molecules, both in kcal/mol.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from kernchem import KRR, Structures
from kernchem.baselines import ZBL, DampedCoulomb, YukawaCore
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.models import choose_parameters

ELEMENTS = "HCNOS"
WIDE = {"screening_bounds": (0.3, 3.0)}
MODELS = {"CM": CoulombMatrix, "BoB": BagOfBonds}
BASELINES = {
    "Coulomb": [DampedCoulomb()],
    "Yukawa": [YukawaCore()],
    "ZBL": [ZBL(**WIDE)],
    "Coulomb, Yukawa": [DampedCoulomb(), YukawaCore()],
    "Yukawa by element": [YukawaCore(decay=dict.fromkeys(ELEMENTS, 0.2))],
    "both by element": [
        DampedCoulomb(width=dict.fromkeys(ELEMENTS, 1.0)),
        YukawaCore(decay=dict.fromkeys(ELEMENTS, 0.2)),
    ],
}
ROUNDS = 2


def load(folder: Path, seed: int) -> Structures:
    """Return the molecules in the order of a seed, with their label."""
    with np.load(folder / "qm7.npz") as data:
        order = np.random.default_rng(seed).permutation(len(data["Z"]))
        return Structures.from_arrays(
            data["Z"][order], data["R"][order], properties={"label": data["e_pbe0"][order]}
        )


def energies(baselines: list, structures: Structures) -> np.ndarray:
    """Return the energies of baselines, array (n, b)."""
    return np.stack([baseline.energies(structures) for baseline in baselines], axis=1)


def held(baselines: list) -> list:
    """Return the baselines with nothing to vary."""
    out = []
    for one in baselines:
        names = [name for name in one.get_params() if name.endswith("_bounds")]
        out.append(type(one)(**(one.get_params() | dict.fromkeys(names, "fixed"))))
    return out


def fitted(
    name: str, found: list, slopes: np.ndarray, train: Structures, test: Structures
) -> tuple[KRR, float, float]:
    """Return a model of what baselines leave, and its two errors."""
    model = KRR(descriptor=MODELS[name]())
    model.fit(train, train["label"] - energies(found, train) @ slopes)
    errors = test["label"] - energies(found, test) @ slopes - model.predict(test)
    return model, float(np.nanmean(np.abs(model.loo_residuals_))), float(np.abs(errors).mean())


def measure(name: str, data: Structures, n_train: int, sets: list[str]) -> list[dict]:
    """Return the errors of each way."""
    train, test = data[:n_train], data[n_train:]
    direct = KRR(descriptor=MODELS[name]()).fit(train, train["label"])
    loo = float(np.nanmean(np.abs(direct.loo_residuals_)))
    mae = float(np.abs(test["label"] - direct.predict(test)).mean())
    rows = [{"baseline": "none", "when": "direct", "loo": loo, "mae": mae, "seconds": 0.0}]
    for key in sets:
        plain = held(BASELINES[key])
        choice = choose_parameters(plain, train, train["label"], direct)
        _, loo, mae = fitted(name, plain, choice.slopes[:, 0], train, test)
        rows.append({"baseline": key, "when": "before", "loo": loo, "mae": mae, "seconds": 0.0})
        model, found, seconds = direct, BASELINES[key], 0.0
        for _ in range(ROUNDS):
            start = time.perf_counter()
            choice = choose_parameters(found, train, train["label"], model)
            seconds += time.perf_counter() - start
            found = list(choice.baselines)
            model, loo, mae = fitted(name, found, choice.slopes[:, 0], train, test)
        theta = [round(float(value), 3) for one in found for value in np.exp(one.theta)]
        rows.append({
            "baseline": key, "when": "after", "loo": loo, "mae": mae, "seconds": seconds,
            "parameters": theta, "slopes": choice.slopes[:, 0].round(3).tolist(),
        })  # fmt: skip
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--sets", nargs="+", default=list(BASELINES), choices=BASELINES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=500, help="molecules to learn from")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    results: list[dict] = []
    print(f"{'model':6}{'baselines':20}{'':8}{'seeds':>6}{'LOO':>8}{'MAE':>8}{'spread':>8}{'s':>7}")
    for name in arguments.models:
        found: dict[tuple[str, str], list[dict]] = {}
        for seed in arguments.seeds:
            data = load(arguments.data, seed)
            for row in measure(name, data, arguments.train, arguments.sets):
                found.setdefault((row["baseline"], row["when"]), []).append(row)
                results.append({"model": name, "seed": seed, "n_train": arguments.train} | row)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        for (key, when), rows in found.items():
            loo, mae, seconds = (
                np.array([row[column] for row in rows]) for column in ("loo", "mae", "seconds")
            )
            print(f"{name:6}{key:20}{when:8}{len(rows):6d}{loo.mean():8.2f}{mae.mean():8.2f}"
                  f"{mae.std():8.2f}{seconds.mean():7.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
