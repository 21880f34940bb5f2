"""Model files to be forged: models of every kind, and what is done with a file that was loaded."""

import contextlib
import dataclasses
import warnings

import numpy as np
from ase.build import molecule
from model_writer import parts
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

import kernchem
from kernchem import GPR, KRR, CompositionBaseline, DeltaLearner, MultiFidelityGPR
from kernchem.descriptors import (
    SLATM,
    BagOfBonds,
    CoulombMatrix,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
    Torsions,
)
from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import ModelFileError
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import Term
from kernchem.structures import Structures

FIXED = {"alpha": 1e-3, "optimizer": None}
WATER = molecule("H2O")
RNG = np.random.default_rng(2)
FRAMES = Structures.from_arrays(
    WATER.numbers,
    WATER.positions + 0.05 * RNG.normal(size=(5, 3, 3)),
    properties={"cheap": np.arange(5.0)},
)
Y = np.array([1.0, 0.5, 2.0, 1.5, 1.2])
TWO = np.stack([Y, -Y], axis=1)
K = np.eye(5) + 0.5
POINTS = RNG.uniform(size=(24, 2))
SINES = np.sin(3.0 * POINTS)
SOURCES = np.array(["old", "new"])[np.arange(24) % 2]


def models():
    yield KRR(Laplacian(300.0), descriptor=BagOfBonds(), **FIXED).fit(FRAMES, Y), FRAMES
    yield (
        KRR(
            ConstantKernel(2.0) * RBF([1.0, 2.0]) + WhiteKernel(0.1) + Gaussian(1.5),
            cv=KFold(2, shuffle=True, random_state=1),
            alpha=0.1,
        ).fit(K[:, :2], TWO),
        K[:, :2],
    )
    yield KRR("precomputed", alpha=0.1).fit(K, Y, [0, 1, 1, 1, 2]), K
    random = CoulombMatrix("random", random_state=3)
    yield (
        KRR(Laplacian(300.0), descriptor=random, composition=False, **FIXED).fit(FRAMES, Y),
        FRAMES,
    )
    bonds = EncodedBonds(2, grid=(0.5, 2.0, 4), radii={"H": 0.4})
    yield (
        DeltaLearner(KRR(Gaussian(2.0), descriptor=bonds, **FIXED), "cheap", slope=1).fit(
            FRAMES, Y
        ),
        FRAMES,
    )
    inverse = InverseDistances(WATER)
    yield make_pipeline(inverse, KRR(Gaussian(2.0), **FIXED)).fit(FRAMES, Y), FRAMES
    yield KRR(Gaussian(2.0), descriptor=OverlapEigenvalues("s"), **FIXED).fit(FRAMES, Y), FRAMES
    yield CompositionBaseline().fit(FRAMES, TWO), FRAMES
    atoms = OverlapEigenvalues("s", r_cut=3.0)
    yield KRR(AtomSum(Gaussian()), descriptor=atoms, **FIXED).fit(FRAMES, Y), FRAMES
    model = KRR(AtomSum(Gaussian()), descriptor=atoms, **FIXED).fit(FRAMES, Y)
    old = model._training.features
    new = Environments.from_blocks(
        [
            FeatureBlock(atoms, np.arange(3), old.values[atoms])
            for atoms in (np.flatnonzero(old.numbers == 1), np.flatnonzero(old.numbers == 8))
        ],
        old.numbers,
        old.offsets,
        3,
    )
    model._training = dataclasses.replace(model._training, features=new)
    yield model, FRAMES
    terms = Term(bonds, "gaussian", width=2.0) + 0.1 * Term(atoms, width=2.0)
    yield KRR(terms, **FIXED).fit(FRAMES, Y), FRAMES
    spectra = SLATM(r_cut=2.0, step_r=0.9, step_theta=2.0, sigma_r=0.5, sigma_theta=0.5)
    yield KRR(Gaussian(9.0), descriptor=spectra, **FIXED).fit(FRAMES, Y), FRAMES
    torsions = Torsions(grid=(0.8, 1.0, 2))
    yield KRR(Gaussian(9.0), descriptor=torsions, **FIXED).fit(FRAMES, Y), FRAMES
    yield GPR(Laplacian(300.0), descriptor=BagOfBonds(), **FIXED).fit(FRAMES, TWO), FRAMES
    process = GPR(cv=KFold(3)).fit(POINTS, SINES, noise=0.1, noise_groups=SOURCES)
    yield process.calibrate(POINTS[:6] + 0.1, SINES[:6]), POINTS[:4]
    levels = SINES.copy()
    levels[12:, 1] = np.nan
    yield MultiFidelityGPR("laplacian", **FIXED).fit(POINTS, levels), POINTS[:4]
    yield MultiFidelityGPR("laplacian", method="joint", **FIXED).fit(POINTS, levels), POINTS[:4]
    levels = MultiFidelityGPR("laplacian", method="multitask", descriptor=BagOfBonds(), **FIXED)
    yield levels.fit(FRAMES, np.where([[0, 1]] + [[0, 0]] * 4, np.nan, TWO)), FRAMES


def saved_parts(model, folder):
    kernchem.save(model, folder / "model.kc", target="energy")
    manifest, members = parts((folder / "model.kc").read_bytes())
    # A search has dozens of trials, all alike.
    del manifest["model"]["state"].get("trials", [])[2:]
    return manifest, members


def load_bytes(data, folder):
    (folder / "model.kc").write_bytes(data)
    return kernchem.load(folder / "model.kc")


def use(model, samples):
    """Whatever a model that was loaded is asked for, it answers or says what is wrong."""
    repr(model)
    model.get_params()
    last = model[-1] if hasattr(model, "steps") else getattr(model, "model_", model)
    repr(getattr(last, "trials_", None))
    calls = [lambda: model.predict(samples)]
    if hasattr(last, "leave_out_residuals"):
        calls += [last.leave_out_residuals, lambda: last.leave_out_residuals(2)]
    if isinstance(last, GPR):
        calls += [
            lambda: last.predict(samples, return_std=True),
            lambda: last.predict(samples, return_cov=True),
            lambda: last.sample_y(samples, 2),
            last.leave_out,
            lambda: last.log_marginal_likelihood(eval_gradient=True),
            *(
                lambda method=method: last.predict_interval(samples, 0.8, method)
                for method in ("conformal", "calibrated", "gaussian", "jackknife+", "cv+")
            ),
            lambda: last.append(samples[:1], last._labels[:1]),
            lambda: last.forget([0]),
        ]
    if isinstance(last, MultiFidelityGPR):
        calls += [
            lambda: last.predict(samples, return_std=True),
            lambda: last.predict(samples, return_cov=True, level=0),
            lambda: last.predict_interval(samples, 0.8),
            lambda: last.advise(samples, np.ones(len(last.levels_)), 2),
        ]
    for call in calls:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with contextlib.suppress(ValueError):
                call()


def refused_or_usable(data, samples, folder):
    """Whether a file is refused, by the one type of error; else its model is used."""
    try:
        model = load_bytes(data, folder)
    except ModelFileError:
        return True
    use(model, samples)
    return False
