"""Delta-learning: correct a semiempirical method instead of learning the energy itself.

300 molecules with PBE0 energies train, 300 others test. GFN2-xTB alone, put on the scale of PBE0 by
one slope and one energy per element, is what the models must beat.
"""

import numpy as np

from kernchem import KRR, CompositionBaseline, DeltaLearner, datasets
from kernchem.descriptors import EncodedBonds

BASELINE = "gfn2_atomization_energy"


def main() -> None:
    """Train, predict, compare."""
    data = datasets.load_qm_small()  # kcal/mol
    train, test = data[:300], data[300:600]
    energies = train["atomization_energy"]

    # max_bonds=3 counts pairs of atoms up to three bonds apart.
    krr = KRR(descriptor=EncodedBonds(max_bonds=3))
    models = {
        "GFN2-xTB, rescaled": DeltaLearner(CompositionBaseline(), baseline=BASELINE),
        "learnt directly": krr,
        "learnt as correction": DeltaLearner(krr, baseline=BASELINE),
    }
    print("mean absolute error / kcal/mol")
    print(
        f"{'GFN2-xTB as it is':22}{np.abs(test[BASELINE] - test['atomization_energy']).mean():8.2f}"
    )
    for name, model in models.items():
        model.fit(train, energies)
        error = model.predict(test) - test["atomization_energy"]
        print(f"{name:22}{np.abs(error).mean():8.2f}")

    # The fitted correction knows its own error: every training molecule left out, with no refits.
    correction = models["learnt as correction"]
    print(f"slope of the baseline: {correction.slope_[0]:.3f}")
    print(f"leave-one-out estimate: {np.nanmean(np.abs(correction.model_.loo_residuals_)):.2f}")


if __name__ == "__main__":
    main()
