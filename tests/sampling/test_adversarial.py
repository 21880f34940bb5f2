"""Adversarial sampling, against finite differences and by what it promises."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernchem import GPR, KRR
from kernchem.descriptors import BagOfBonds, InverseDistances
from kernchem.errors import KernchemWarning, SettingError
from kernchem.kernels import Gaussian, Laplacian, Matern
from kernchem.sampling import AdversarialSampler
from kernchem.sampling.adversarial_landscape import Landscape, internal_motions
from kernchem.structures import Structures

WATER = np.array([[0.0, 0.0, 0.1], [0.0, 0.76, -0.5], [0.0, -0.76, -0.5]])


def energy(X):
    return (X[:, 0] ** 2 - 1.0) ** 2 + X[:, 1] ** 2


@pytest.fixture
def waters(rng):
    """Molecules of water."""
    positions = WATER + 0.08 * rng.normal(size=(15, 3, 3))
    return Structures.from_arrays([[8, 1, 1]] * 15, positions)


def well(rng, kernel, **settings):
    X = np.array([-1.0, 0.0]) + 0.2 * rng.normal(size=(12, 2))
    fixed = {"alpha": 1e-5, "optimizer": None, "calibration": None, **settings}
    return X, GPR(kernel, **fixed).fit(X, energy(X))


def molecular(waters, **settings):
    d = np.linalg.norm(waters.positions.reshape(-1, 3, 3)[:, 0] - waters.positions.reshape(
        -1, 3, 3)[:, 1], axis=1)  # fmt: skip
    model = GPR(
        settings.pop("kernel", Gaussian(0.3)),
        descriptor=settings.pop("descriptor", InverseDistances()),
        alpha=1e-4,
        optimizer=None,
        calibration=None,
        **settings,
    )
    return model.fit(waters, (d - 0.97) ** 2)


def objective(model, samples, kT):
    """Log variance - E / kT from predictions alone."""
    mean, std = model.predict(samples, return_std=True)
    return 2.0 * np.log(std) - mean / kT


@pytest.mark.parametrize("kernel", [Gaussian(0.7), Gaussian([0.7, 0.9]), Matern(0.9, nu=1.5),
                                    Matern(0.9, nu=2.5)])  # fmt: skip
def test_slopes_on_points(rng, kernel):
    X, model = well(rng, kernel)
    x = X[3] + [0.21, -0.13]
    landscape = Landscape(model, X[3:4], 0.4)
    value, slope = landscape.slope(x)
    assert_allclose(value, objective(model, x[None], 0.4)[0], rtol=1e-9)
    h = 1e-5 * np.eye(2)
    expected = (objective(model, x + h, 0.4) - objective(model, x - h, 0.4)) / 2e-5
    assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize("composition", [True, False])
def test_slopes_of_structures(waters, composition):
    model = molecular(waters, composition=composition)
    one = waters[:1]
    x = one.positions.ravel() + 0.05 * np.sin(np.arange(9.0))
    landscape = Landscape(model, one, 0.02)
    value, slope = landscape.slope(x)
    assert_allclose(value, objective(model, landscape.samples(x[None]), 0.02)[0], rtol=1e-9)
    h = 2e-4 * np.eye(9)
    plus, minus = (objective(model, landscape.samples(x + s), 0.02) for s in (h, -h))
    assert_allclose(slope, (plus - minus) / 4e-4, rtol=1e-4, atol=1e-4)
    # Nothing is gained by shifts and turns.
    assert_allclose(slope.reshape(3, 3).sum(axis=0), 0.0, atol=1e-5)


@pytest.mark.parametrize(("positions", "rank"), [(WATER, 3), (np.eye(3)[[0, 1]], 1)])
def test_internal_motions(positions, rank):
    P = internal_motions(positions)
    assert_allclose(P @ P, P, atol=1e-12)
    assert round(np.trace(P)) == rank
    arms = positions - positions.mean(axis=0)
    for axis in np.eye(3):
        assert_allclose(P @ np.tile(axis, len(positions)), 0.0, atol=1e-12)
        assert_allclose(P @ np.cross(axis, arms).ravel(), 0.0, atol=1e-12)


def test_structures_are_bounded_and_differ(waters):
    model = molecular(waters)
    sampler = AdversarialSampler(model, temperature=0.05, max_displacement=0.2, n_starts=3)
    found, scores = sampler.sample(waters[:3], 4)
    again, _ = sampler.sample(waters[:3], 4)
    assert (found.positions == again.positions).all()
    assert_allclose(scores, objective(model, found, 0.05), rtol=1e-8)
    own = objective(model, waters[:3], 0.05)
    assert scores.min() > own.max()
    for one in found:
        shifts = [one.positions - reference.positions for reference in waters[:3]]
        nearest = min(shifts, key=np.linalg.norm)
        assert np.linalg.norm(nearest, axis=1).max() <= 0.2 + 1e-9
        rigid = [
            z.ravel() - internal_motions(reference.positions) @ z.ravel()
            for z, reference in zip(shifts, waters[:3], strict=True)
        ]
        assert min(np.abs(part).max() for part in rigid) < 1e-9
    features = model.descriptor_.transform(found)
    K = model.kernel_(features)
    np.fill_diagonal(K, 0.0)
    assert np.sqrt(2.0 - 2.0 * K.max()) >= 0.05


def test_short_distances_are_rejected(waters):
    model = molecular(waters)
    settings = {"temperature": 10.0, "max_displacement": 0.4, "n_starts": 4}
    near, _ = AdversarialSampler(model, min_distance=0.2, **settings).sample(waters[:2], 3)
    apart, _ = AdversarialSampler(model, min_distance=0.75, **settings).sample(waters[:2], 3)

    def shortest(structures):
        p = structures.positions.reshape(-1, 3, 3)
        return np.linalg.norm(p[:, [0, 0, 1]] - p[:, [1, 2, 2]], axis=2).min()

    assert shortest(near) < 0.75 <= shortest(apart)
    with pytest.raises(SettingError, match="lower it"):
        AdversarialSampler(model, min_distance=3.0).sample(waters[:2], 1)


@pytest.mark.filterwarnings("ignore:BagOfBonds sorts")
def test_references_that_cannot_be_displaced():
    model = GPR(
        Gaussian(1.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None, composition=False
    )
    atoms = Structures.from_arrays([[8], [1], [6]], np.zeros((3, 1, 3)))
    sampler = AdversarialSampler(model.fit(atoms, [0.0, 1.0, 2.0]))
    with pytest.raises(SettingError, match="as of a single atom"):
        sampler.sample(atoms[:1], 1)
    with pytest.raises(SettingError, match="there is no reference"):
        sampler.sample(atoms[:0], 1)


def test_duplicates_are_dropped(rng):
    X, model = well(rng, Gaussian(0.7))
    sampler = AdversarialSampler(model, max_displacement=1e-3, n_starts=2)
    with pytest.warns(KernchemWarning, match="only 0 of 2"):
        assert len(sampler.sample(X[:2], 2)[0]) == 0
    line = np.linspace(-1.0, 0.0, 6)[:, None]
    model = GPR(Gaussian(0.5), alpha=1e-6, optimizer=None).fit(line, line[:, 0] ** 2)
    sampler = AdversarialSampler(model, temperature=10.0, max_displacement=0.5, n_starts=20)
    with pytest.warns(KernchemWarning, match="of 20"):
        points, _ = sampler.sample(line[-1:], 20)
    K = model.kernel_(points) - np.eye(len(points))
    assert np.sqrt(2.0 - 2.0 * K.max()) >= 0.05


def test_near_duplicates_of_wide_kernels_are_nearer(rng):
    """All labelled points are within 0.05 of each other in the space of the kernel."""
    X, model = well(rng, Gaussian(100.0), alpha=1e-12)
    sampler = AdversarialSampler(model, temperature=10.0, max_displacement=0.5)
    points, _ = sampler.sample(X, 4)
    assert len(points) == 4
    # Where kernels are wide, distances are those of the points over the width.
    D = np.linalg.norm(X[:, None] - X, axis=2) + 9.0 * np.eye(len(X))
    least = 0.2 * np.median(D.min(axis=1))
    every = np.concatenate([X, points])
    apart = np.linalg.norm(every[:, None] - points, axis=2)
    assert apart[apart > 0.0].min() > 0.99 * least
    with pytest.warns(KernchemWarning, match=f"farther than {least / 100.0:.2g} from each other"):
        AdversarialSampler(model, max_displacement=1e-4).sample(X, 2)


@pytest.mark.parametrize("kernel", [Laplacian(1.0), Matern(1.0, nu=0.5)])
def test_kernels_with_kinks_are_refused(rng, kernel):
    _, model = well(rng, kernel)
    with pytest.raises(SettingError, match="no derivative"):
        AdversarialSampler(model)


def test_settings_are_checked(rng, waters):
    X, model = well(rng, Gaussian(0.7))
    for name in ("temperature", "max_displacement", "n_starts", "min_distance"):
        with pytest.raises(SettingError, match=name):
            AdversarialSampler(model, **{name: 0})
    with pytest.raises(SettingError, match="n=0"):
        AdversarialSampler(model).sample(X, 0)
    with pytest.raises(SettingError, match="not fitted"):
        AdversarialSampler(GPR())
    with pytest.warns(KernchemWarning, match="kinks"):
        AdversarialSampler(molecular(waters, descriptor=BagOfBonds()))
    with pytest.raises(SettingError, match="give a fitted GPR"):
        AdversarialSampler(KRR())
    two = GPR(Gaussian(0.7), alpha=1e-5, optimizer=None, calibration=None)
    with pytest.raises(SettingError, match="several targets"):
        AdversarialSampler(two.fit(X, np.stack([energy(X), X[:, 0]], axis=1)))
    crystal = Structures.from_arrays(
        [waters[0].numbers], [waters[0].positions], cells=[9.0 * np.eye(3)], pbc=[[True] * 3]
    )
    with pytest.raises(SettingError, match="periodic"):
        AdversarialSampler(molecular(waters)).sample(crystal, 1)


def test_charges_go_with_the_structures(waters):
    charged = Structures.from_arrays(
        [one.numbers for one in waters], [one.positions for one in waters],
        charge=[1.0] * 15, multiplicity=[2] * 15,
    )  # fmt: skip
    found, _ = AdversarialSampler(molecular(charged), max_displacement=0.1).sample(charged[:2], 2)
    assert found.charge.tolist() == [1.0, 1.0]
    assert found.multiplicity.tolist() == [2, 2]


def test_one_well_finds_the_other(rng):
    X = np.array([-1.0, 0.0]) + 0.15 * rng.normal(size=(10, 2))
    grid = np.stack(np.meshgrid(np.linspace(-1.6, 1.6, 21), np.linspace(-1, 1, 15)), -1)
    grid = grid.reshape(-1, 2)
    grid = grid[energy(grid) < 1.5]
    for turn in range(7):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KernchemWarning)
            model = GPR(Gaussian(1.0, (0.3, 5.0)), alpha=1e-8, calibration=None)
            model.fit(X, energy(X))
        mae = np.abs(model.predict(grid) - energy(grid)).mean()
        if turn == 6 or mae < 0.02:
            break
        sampler = AdversarialSampler(model, temperature=0.5, max_displacement=0.8, n_starts=3)
        X = np.concatenate([X, sampler.sample(X, 5)[0]])
    assert mae < 0.02
