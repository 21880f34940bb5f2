"""Delta-learning on semiempirical programs: errors by number of labels, QM7 and QM9.

QM7: PBE0 atomisation energies, directly, on stored DFTB energies, and on GFN2-xTB and PM7, which
are computed here (two minutes each on one core, once: results are kept in --cache): alone, both at
once, and with bond additivity corrections ("gfn2 bonds", "pm7 bonds"). QM9: B3LYP electronic
energies on stored GFN2-xTB energies, and MP2 binding energies on B3LYP ones. The last molecules of
a permutation by ``numpy.random.default_rng(draw)`` test: 1000, of the 1261 with MP2 and B3LYP
energies 261. Slopes and offsets are fitted; nothing is set but descriptor and kernel. With
--co-kriging, GFN2 (for MP2 energies, B3LYP) and the label are the two levels of a
``MultiFidelityGPR``, which has the lower level of the molecules that test as well.
Errors are means over draws, kcal/mol; the last column is the direct error over that of the best
single baseline.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from kernchem import KRR, DeltaLearner, MultiFidelityGPR, Structures
from kernchem.baselines import GFN2, PM7, BondAdditivity
from kernchem.descriptors import BagOfBonds, CoulombMatrix

HARTREE = 627.509474
MODELS = {
    "CM": lambda: KRR(descriptor=CoulombMatrix()),
    "BoB": lambda: KRR(descriptor=BagOfBonds()),
    "composite": lambda: KRR("composite"),
}
#: Models of two levels, by descriptor.
LEVELS = {
    "CM": lambda: MultiFidelityGPR(descriptor=CoulombMatrix()),
    "BoB": lambda: MultiFidelityGPR(descriptor=BagOfBonds()),
}
PROGRAMS = {"gfn2": GFN2, "pm7": PM7}
LOWER = {"qm7": "gfn2", "qm9": "gfn2", "mp2": "b3lyp"}
#: Baselines of each study, by the name of the column.
WAYS = {
    "qm7": [
        (),
        ("dftb",),
        ("gfn2",),
        ("gfn2 bonds",),
        ("pm7",),
        ("pm7 bonds",),
        ("gfn2", "pm7"),
        ("gfn2 bonds", "pm7 bonds"),
    ],
    "qm9": [(), ("gfn2",)],
    "mp2": [(), ("gfn2",), ("b3lyp",), ("gfn2", "b3lyp")],
}


def load_qm7(folder: Path, cache: Path) -> Structures:
    """Return molecules of QM7 with PBE0, DFTB, GFN2-xTB and PM7 energies, in order of names."""
    with np.load(folder / "qm7.npz") as data:
        order = np.argsort(data["name"])
        numbers, positions = data["Z"][order], data["R"][order]
        columns = {"label": data["e_pbe0"][order], "dftb": data["e_dftb"][order]}
    bare = Structures.from_arrays(numbers, positions)
    for name, program in PROGRAMS.items():
        start = time.perf_counter()
        result = program(cache=cache, progress=True, bond_orders=True).compute(bare)
        print(f"{name}: {result.ok.sum()} energies, {(~result.ok).sum()} failures, "
              f"{time.perf_counter() - start:.0f} s")  # fmt: skip
        columns[name] = result.energies
    known = np.all([np.isfinite(column) for column in columns.values()], axis=0)
    return Structures.from_arrays(
        numbers[known],
        positions[known],
        properties={name: column[known] for name, column in columns.items()},
    )


def load_qm9(folder: Path, label: str) -> Structures:
    """Return the molecules of the subset of QM9 for which all that a study needs is known."""
    with np.load(folder / "qm9_subset.npz") as data:
        columns = {"gfn2": data["gfn2"], "b3lyp": data["e_elec"], "mp2": data["mp2_binding"]}
        columns["label"] = columns.pop("mp2") if label == "mp2" else columns["b3lyp"]
        if label != "mp2":
            del columns["mp2"]
        known = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        return Structures.from_arrays(
            data["Z"][known],
            data["R"][known],
            properties={name: HARTREE * column[known] for name, column in columns.items()},
        )


def baseline(name: str, cache: Path) -> Any:
    """Return what a name in ``WAYS`` stands for: a stored property, or a corrected program."""
    program, _, bonds = name.partition(" ")
    return BondAdditivity(PROGRAMS[program](cache=cache, n_jobs=1)) if bonds else name


def measure(
    data: Structures, model: str, way: tuple[str, ...], size: int, n_test: int, cache: Path
) -> dict:
    """Fit one model, and return its errors on the last molecules."""
    train, test = data[:size], data[-n_test:]
    estimator = MODELS[model]()
    if way:
        estimator = DeltaLearner(estimator, [baseline(name, cache) for name in way])
    start = time.perf_counter()
    estimator.fit(train, train["label"])
    error = np.abs(estimator.predict(test) - test["label"])
    return {
        "model": model,
        "baseline": " + ".join(way) or "none",
        "n_train": size,
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "p95": float(np.quantile(error, 0.95)),
        "slopes": [] if not way else estimator.slope_.tolist(),
        "seconds": time.perf_counter() - start,
    }


def measure_levels(data: Structures, model: str, lower: str, size: int, n_test: int) -> dict:
    """Fit one model of two levels, and return its errors on the last molecules."""
    rows = np.r_[:size, len(data) - n_test : len(data)]
    labels = np.column_stack([data[lower], data["label"]])[rows]
    labels[size:, 1] = np.nan
    start = time.perf_counter()
    estimator = LEVELS[model]().fit(data[rows], labels)
    error = np.abs(estimator.predict(data[-n_test:]) - data["label"][-n_test:])
    return {
        "model": model,
        "baseline": f"co-kriging, {lower}",
        "n_train": size,
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "p95": float(np.quantile(error, 0.95)),
        "slopes": np.ravel(estimator.rho_).tolist(),
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--qm7", type=Path, help="folder that holds qm7.npz")
    parser.add_argument("--qm9", type=Path, help="folder that holds qm9_subset.npz")
    parser.add_argument("--cache", type=Path, default=Path(".kernchem-cache"))
    parser.add_argument("--models", nargs="+", default=["CM", "BoB"], choices=MODELS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--co-kriging", action="store_true", help="as well")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    studies = {}
    if arguments.qm7 is not None:
        studies["qm7"] = load_qm7(arguments.qm7, arguments.cache)
    if arguments.qm9 is not None:
        studies |= {name: load_qm9(arguments.qm9, name) for name in ("qm9", "mp2")}
    results = []
    for study, data in studies.items():
        ways = WAYS[study]
        n_test = 261 if study == "mp2" else 1000
        titles = [" + ".join(way) or "direct" for way in ways]
        titles += ["co-kriging"] if arguments.co_kriging else []
        print(f"\n{study}: {len(data)} molecules\n{'model':10}{'N':>6}"
              + "".join(f"{title:>24}" for title in titles) + f"{'gain':>7}")  # fmt: skip
        for model in arguments.models:
            for size in arguments.sizes:
                means = []
                for way in ways:
                    rows = []
                    for draw in arguments.draws:
                        shuffled = data[np.random.default_rng(draw).permutation(len(data))]
                        row = measure(shuffled, model, way, size, n_test, arguments.cache)
                        rows.append(row | {"study": study, "draw": draw})
                    results += rows
                    means.append(np.mean([row["mae"] for row in rows]))
                levels = []
                for draw in arguments.draws if arguments.co_kriging and model in LEVELS else ():
                    shuffled = data[np.random.default_rng(draw).permutation(len(data))]
                    row = measure_levels(shuffled, model, LOWER[study], size, n_test)
                    levels.append(row | {"study": study, "draw": draw})
                results += levels
                single = min(mean for mean, way in zip(means, ways, strict=True) if len(way) == 1)
                last = f"{np.mean([row['mae'] for row in levels]):24.3f}" if levels else ""
                print(f"{model:10}{size:6d}" + "".join(f"{mean:24.3f}" for mean in means) + last
                      + f"{means[0] / single:7.2f}", flush=True)  # fmt: skip
                if arguments.json:
                    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
