"""Descriptors, kernels and models are parts of scikit-learn: pipelines, searches, its own GPR."""

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from kernchem import KRR, CompositionBaseline, datasets
from kernchem.descriptors import BagOfBonds, CoulombMatrix, EncodedBonds
from kernchem.kernels import Gaussian


def main() -> None:
    """Use each of them once."""
    data = datasets.load_qm_small()[:300]  # kcal/mol
    energies = data["atomization_energy"]
    folds = KFold(5, shuffle=True, random_state=0)

    # Cross-validation on molecules: the estimator owns its descriptor.
    model = KRR(descriptor=BagOfBonds())
    scores = cross_val_score(model, data, energies, cv=folds, scoring="neg_mean_absolute_error")
    print(f"KRR on bags of bonds, 5-fold: {-scores.mean():.2f} ± {scores.std():.2f} kcal/mol")

    # A search over descriptors; kernel width and regulariser are chosen inside each fit.
    search = GridSearchCV(
        model,
        {"descriptor": [CoulombMatrix(), EncodedBonds(max_bonds=1), EncodedBonds(max_bonds=3)]},
        cv=folds,
        scoring="neg_mean_absolute_error",
    )
    search.fit(data, energies)
    print(f"best descriptor: {search.best_params_['descriptor']}, {-search.best_score_:.2f}")

    # A pipeline: the descriptor is a step, and the size is fixed for molecules seen later.
    train, test = data[:240], data[240:]
    composition = CompositionBaseline().fit(train, energies[:240])
    rest = energies - composition.predict(data)
    pipeline = make_pipeline(CoulombMatrix(size=20), KRR("laplacian"))
    pipeline.fit(train, rest[:240])
    error = np.abs(pipeline.predict(test) - rest[240:]).mean()
    print(f"pipeline of Coulomb matrix and KRR: {error:.2f}")

    # scikit-learn's Gaussian process with a kernel of kernchem: mean and standard deviation.
    process = GaussianProcessRegressor(
        ConstantKernel(100.0, (1e-2, 1e6)) * Gaussian(50.0) + WhiteKernel(1.0, (1e-4, 1e3)),
        normalize_y=True,
    )
    features = EncodedBonds(max_bonds=3).fit(data)
    process.fit(features.transform(train), rest[:240])
    mean, std = process.predict(features.transform(test), return_std=True)
    inside = np.abs(mean - rest[240:]) < 1.96 * std
    error = np.abs(mean - rest[240:]).mean()
    print(f"scikit-learn's GPR: {error:.2f}, {100 * inside.mean():.0f} % inside 95 % intervals")


if __name__ == "__main__":
    main()
