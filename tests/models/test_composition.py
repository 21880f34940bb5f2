import numpy as np
import pytest
from ase.build import molecule
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from kernchem.errors import CompositionError, LabelError, UnknownElementError
from kernchem.models import CompositionBaseline
from kernchem.models.composition import CompositionSpace
from kernchem.structures import Structures, as_structures


def counts(structures, elements):
    return np.array([[(s.numbers == z).sum() for z in elements] for s in structures], dtype=float)


def test_counts_are_the_numbers_of_atoms(molecules):
    space = CompositionSpace(molecules)
    assert space.elements == (1, 6, 7, 8)
    assert_allclose(space.counts(molecules), counts(molecules, space.elements))


def test_equals_linear_regression_without_intercept(molecules, rng):
    y = rng.normal(size=(len(molecules), 2))
    weights = rng.uniform(0.5, 2.0, size=len(molecules))
    features = counts(molecules, (1, 6, 7, 8))
    peer = LinearRegression(fit_intercept=False).fit(features, y, weights)
    model = CompositionBaseline().fit(molecules, y, weights)
    assert_allclose(model.coef_.T, peer.coef_, atol=1e-10)
    assert_allclose(model.predict(molecules), peer.predict(features), atol=1e-10)
    one = clone(model).fit(molecules, y[:, 0])
    assert one.coef_.shape == (4,)
    assert one.predict(molecules[:3]).shape == (3,)


def test_additive_energies_are_found_exactly(molecules):
    energies = np.array([-0.5, -37.8, -54.6, -75.1])
    y = counts(molecules, (1, 6, 7, 8)) @ energies
    model = CompositionBaseline().fit(molecules, y)
    assert_allclose(model.coef_, energies, rtol=1e-10)


def test_unknown_element_names_the_molecule(molecules):
    model = CompositionBaseline().fit(molecules, np.zeros(len(molecules)))
    with pytest.raises(UnknownElementError, match=r"structure 1 \(CH4S\).* S "):
        model.predict([molecule("CH4"), molecule("CH3SH")])


def test_composition_outside_the_training_set_is_refused():
    # Every training molecule is C_n H_2n: the energies of C and H are known only together.
    alkenes = [molecule("C2H4"), molecule("C3H6_Cs")]
    model = CompositionBaseline().fit(alkenes, [-20.0, -30.0])
    assert_allclose(model.predict([molecule("CH2_s1A1d")]), [-10.0])
    with pytest.raises(CompositionError, match=r"structure 0 \(CH4\).*\+0.40 H -0.80 C"):
        model.predict([molecule("CH4")])


def test_space_has_the_rank_of_the_counts():
    space = CompositionSpace(as_structures([molecule("C2H4"), molecule("C3H6_Cs")]))
    assert space.vectors.shape == (2, 1)


def test_bad_labels_are_named(molecules):
    y = np.zeros(len(molecules))
    y[3] = np.nan
    with pytest.raises(LabelError, match="sample 3"):
        CompositionBaseline().fit(molecules, y)
    with pytest.raises(LabelError, match="15 labels for 16"):
        CompositionBaseline().fit(molecules, y[:15])


def chain(*elements):
    """One structure of given numbers of atoms of given elements, in a row."""
    numbers = np.concatenate([np.full(count, z) for z, count in elements])
    return Structures(numbers, np.arange(len(numbers))[:, None] * [1.0, 0, 0], [0, len(numbers)])[0]


def test_one_small_exception_to_a_rule_is_enough():
    # Twenty large C_n H_2n, and methane: smallest singular value 0.2 % of the largest.
    batch = [chain((1, 2 * n), (6, n)) for n in range(40, 60)] + [chain((1, 4), (6, 1))]
    y = counts(batch, (1, 6)) @ [-0.5, -38.0]
    assert CompositionSpace(as_structures(batch)).vectors.shape == (2, 2)
    assert_allclose(CompositionBaseline().fit(batch, y).coef_, [-0.5, -38.0], rtol=1e-9)


def test_rank_does_not_count_rounding(rng):
    # C_n H_2n O_m: two proportions, however many molecules and of whatever size.
    sizes = rng.integers(1, 40, size=(50, 2))
    batch = [chain((1, 2 * n), (6, n), (8, m)) for n, m in sizes]
    assert CompositionSpace(as_structures(batch)).vectors.shape == (3, 2)


def test_one_atom_too_many_in_a_large_molecule_is_refused():
    batch = [chain((1, 2 * n), (6, n)) for n in (10, 20, 30)]
    model = CompositionBaseline().fit(batch, [-10.0, -20.0, -30.0])
    assert_allclose(model.predict([chain((1, 80), (6, 40))]), [-40.0])
    with pytest.raises(CompositionError, match=r"C40H81"):
        model.predict([chain((1, 81), (6, 40))])


def test_weight_of_zero_equals_leaving_a_molecule_out():
    batch = [molecule(name) for name in ("CH4", "C2H6", "C2H4", "H2", "HF")]
    y = [-17.0, -29.0, -23.0, -6.0, -1000.0]
    weighted = CompositionBaseline().fit(batch, y, [1, 1, 1, 1, 0])
    assert_allclose(weighted.coef_, CompositionBaseline().fit(batch[:4], y[:4]).coef_)
    with pytest.raises(UnknownElementError, match=" F "):
        weighted.predict([molecule("HF")])
    with pytest.raises(LabelError, match="no samples"):
        CompositionBaseline().fit([], [])
