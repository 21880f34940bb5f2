"""Overlap spectra against derivatives, integrals, another package and the definition."""

import itertools

import mpmath
import naive
import numpy as np
import pytest
from effort import examples, size
from hypothesis import given, settings
from hypothesis import strategies as st

from kernchem.datasets import load_qm_small
from kernchem.descriptors import OverlapEigenvalues, overlap_jit
from kernchem.descriptors.comparison import groups_within, matching_cost, same_composition
from kernchem.elements import covalent_radii
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError, StructureError
from kernchem.structures import Structures

RADII = covalent_radii()
#: The Gaussian widths of the values of libfp.
LIBFP_RADII = {"H": 0.37, "C": 0.77, "N": 0.75, "O": 0.73, "S": 1.02}


def batch(*molecules):
    numbers, positions = zip(*molecules, strict=True)
    return Structures.from_arrays(list(numbers), list(positions))


def moved(structures, rng, handedness=1.0):
    """Each molecule turned and shifted on its own, its atoms shuffled."""
    items = []
    for m in structures:
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        q *= handedness * np.sign(np.linalg.det(q))
        order = rng.permutation(len(m.numbers))
        items.append((m.numbers[order], (m.positions @ q.T + rng.normal(size=3))[order]))
    return batch(*items)


@pytest.fixture(scope="module")
def embedded():
    return load_qm_small()[:: size(1, 8)]


@pytest.fixture(scope="module")
def shaken(molecules):
    """The molecules without symmetry, hence without equal eigenvalues."""
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


# -- elements of the matrix ------------------------------------------------------------------------

#: Exponents (1/angstrom^2) and the vector from the second atom to the first.
PAIRS = [
    (0.5 / 0.76**2, 0.5 / 0.31**2, (0.3, -0.7, 0.5)),
    (5.2, 0.9, (-0.4, 0.9, 1.1)),
    (0.2, 0.2, (2.0, 1.0, -3.0)),
    (3.0, 0.5, (0.01, 0.0, -0.02)),
]


def block(a_i, a_j, d):
    """The 4 x 4 overlaps of orbitals of atom i (at d) with those of atom j (at the origin)."""
    out = np.full((1, 8, 8), np.nan)
    positions, roots = np.array([[0.0, 0.0, 0.0], d]), np.sqrt([a_j, a_i])
    overlap_jit.fill_molecules(positions, roots, np.array([0]), 4, out)
    return out[0, 4:, :4]


@pytest.mark.parametrize(("a_i", "a_j", "d"), PAIRS)
def test_blocks_are_derivatives_of_the_overlap(a_i, a_j, d):
    """The normalised p orbital is the derivative of s by its centre over the root of its exponent.

    Overlaps depend on the difference of the centres only, so d/dr_j = -d/dr_i.
    """

    def s_s(shift):
        return block(a_i, a_j, np.asarray(d) + shift)[0, 0]

    def richardson(difference):
        steps = [difference(0.02 / 2**k) for k in range(4)]
        for order in (4.0, 16.0, 64.0):
            steps = [
                (order * fine - coarse) / (order - 1.0)
                for coarse, fine in itertools.pairwise(steps)
            ]
        return steps[0]

    def derivative(*directions):
        """Central difference along one direction, or along two."""

        def difference(h):
            total = 0.0
            for signs in itertools.product((1, -1), repeat=len(directions)):
                shift = h * sum(
                    sign * np.eye(3)[c] for sign, c in zip(signs, directions, strict=True)
                )
                total += np.prod(signs) * s_s(shift)
            return total / (2.0 * h) ** len(directions)

        return richardson(difference)

    elements = block(a_i, a_j, d)
    for c in range(3):
        assert elements[1 + c, 0] == pytest.approx(derivative(c) / np.sqrt(a_i), abs=1e-8)
        assert elements[0, 1 + c] == pytest.approx(-derivative(c) / np.sqrt(a_j), abs=1e-8)
        for e in range(3):
            expected = -derivative(c, e) / np.sqrt(a_i * a_j)
            assert elements[1 + c, 1 + e] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("a_i", "a_j", "d"), PAIRS[:2])
def test_blocks_are_integrals(a_i, a_j, d):
    """Gaussians are products of functions of x, y and z; so are the integrals over them."""
    mpmath.mp.dps = 20

    def line(a, b, shift, power_a, power_b):
        """Integral over one coordinate of x^k exp(-a x^2), normalised, and of its partner."""

        def orbital(x, exponent, power):
            norm = mpmath.sqrt(mpmath.sqrt(2 * exponent / mpmath.pi))
            return norm * (2 * mpmath.sqrt(exponent) * x) ** power * mpmath.exp(-exponent * x**2)

        return mpmath.quad(
            lambda x: orbital(x - shift, a, power_a) * orbital(x, b, power_b),
            [-mpmath.inf, min(0, shift), max(0, shift) + 1e-3, mpmath.inf],
        )

    table = {
        (c, p, q): line(a_i, a_j, d[c], p, q) for c in range(3) for p in (0, 1) for q in (0, 1)
    }
    elements = block(a_i, a_j, d)
    for row, column in itertools.product(range(4), repeat=2):
        expected = mpmath.fprod(table[c, int(row == c + 1), int(column == c + 1)] for c in range(3))
        assert elements[row, column] == pytest.approx(float(expected), abs=1e-13)


def test_matrix_of_one_atom_is_the_unit_matrix():
    one = batch(([6], [[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(OverlapEigenvalues().fit_transform(one), np.ones((1, 4)))
    np.testing.assert_array_equal(OverlapEigenvalues("s").fit_transform(one), [[1.0]])
    np.testing.assert_array_equal(
        OverlapEigenvalues(r_cut=2.0, size=2).fit_transform(one).values, [[1.0] * 4 + [0.0] * 4]
    )


def test_two_hydrogens_have_the_closed_form():
    # s: 1 +- S. p across the axis: 1 +- S each. s and p along the axis, by symmetry: the even and
    # the odd combinations mix in 2 x 2 matrices.
    r, a = 0.9, 0.5 / RADII[1] ** 2
    overlap = np.exp(-0.5 * a * r * r)
    across = [1.0 + overlap, 1.0 - overlap] * 2
    along = []
    for sign in (1.0, -1.0):
        s_p = np.sqrt(a) * r * overlap
        matrix = [
            [1.0 + sign * overlap, sign * s_p],
            [sign * s_p, 1.0 - sign * overlap * (1.0 - a * r * r)],
        ]
        along += np.linalg.eigvalsh(matrix).tolist()
    expected = np.sort(across + along)[::-1]
    pair = batch(([1, 1], [[0.0, 0.0, 0.0], [0.0, r, 0.0]]))
    np.testing.assert_allclose(OverlapEigenvalues().fit_transform(pair)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(
        OverlapEigenvalues("s").fit_transform(pair)[0], [1.0 + overlap, 1.0 - overlap], rtol=1e-12
    )


# -- spectra ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orbitals", ["s", "sp"])
def test_spectrum_is_that_of_the_formula(molecules, orbitals):
    radii = RADII.copy()
    radii[6], radii[8] = 0.9, 0.5
    for given_radii, table in ((None, RADII), ({"C": 0.9, "O": 0.5}, radii)):
        descriptor = OverlapEigenvalues(orbitals, radii=given_radii).fit(molecules)
        assert descriptor.size_ == 9
        features = descriptor.transform(molecules)
        for m, row in zip(molecules, features, strict=True):
            matrix = naive.overlap_matrix(m.numbers, m.positions, table, orbitals)
            expected = np.linalg.eigvalsh(matrix)[::-1]
            np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-12)
            assert (row[len(expected) :] == 0.0).all()


@pytest.mark.parametrize("orbitals", ["s", "sp"])
@pytest.mark.parametrize("r_cut", [1.3, 3.0])
def test_spectrum_of_an_atom_is_that_of_the_formula(molecules, orbitals, r_cut):
    some = molecules[4:13]
    features = OverlapEigenvalues(orbitals, r_cut=r_cut).fit_transform(some)
    np.testing.assert_array_equal(features.numbers, some.numbers)
    np.testing.assert_array_equal(features.offsets, some.offsets)
    for m, own in zip(some, features, strict=True):
        for centre, row in enumerate(own.values):
            numbers, positions, weights = naive.overlap_surroundings(
                m.numbers, m.positions, centre, r_cut
            )
            matrix = naive.overlap_matrix(numbers, positions, RADII, orbitals, weights)
            expected = np.linalg.eigvalsh(matrix)[::-1]
            np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-12)
            assert (row[len(expected) :] == 0.0).all()


def test_values_of_libfp(reference_data):
    with np.load(reference_data / "oracles" / "libfp_om.npz") as data:
        some = Structures.from_arrays(
            list(data["Z"]), [rows.astype(np.float64) for rows in data["R"]]
        )
        for orbitals, width in (("s", 30), ("sp", 120)):
            setting = {"orbitals": orbitals, "radii": LIBFP_RADII, "size": 30}
            features = OverlapEigenvalues(r_cut=8.0, **setting).fit_transform(some)
            assert features.values.shape == (61, width)
            np.testing.assert_allclose(features.values, data[f"om_rc8_{orbitals}"], atol=1e-12)
            # The largest cutoff that libfp was given leaves 2e-8.
            whole = np.repeat(OverlapEigenvalues(**setting).fit_transform(some), some.sizes, axis=0)
            np.testing.assert_allclose(whole, data[f"om_global_{orbitals}"], atol=1e-7)


def check_spectra(structures, features, n_orbitals):
    """Descending, as many as there are orbitals, and their sum the trace; return the smallest."""
    assert (np.diff(features, axis=1) <= 0.0).all()
    np.testing.assert_allclose(features.sum(axis=1), n_orbitals * structures.sizes, rtol=1e-12)
    inside = np.arange(features.shape[1]) < n_orbitals * structures.sizes[:, None]
    assert (features[~inside] == 0.0).all()
    return features[inside].min()


def test_no_eigenvalue_of_the_embedded_molecules_is_negative(embedded):
    features = OverlapEigenvalues().fit_transform(embedded)
    assert check_spectra(embedded, features, 4) > 1.3e-3
    # The matrix of s is a part of it, whose eigenvalues lie between (Cauchy).
    some = embedded[:200]
    features = OverlapEigenvalues("s").fit_transform(some)
    assert check_spectra(some, features, 1) > 0.19


@pytest.mark.slow
def test_no_eigenvalue_of_qm7_is_negative(reference_data):
    with np.load(reference_data / "qm7" / "qm7.npz") as data:
        some = Structures.from_arrays(list(data["Z"]), list(data["R"]))
    features = OverlapEigenvalues().fit_transform(some)
    assert check_spectra(some, features, 4) > 6e-4


apart = st.lists(
    st.tuples(*[st.integers(-9, 9)] * 3), min_size=1, max_size=6, unique=True
).map(lambda points: 0.11 * np.array(points, dtype=float))  # fmt: skip


@settings(max_examples=examples(25), deadline=None)
@given(positions=apart, data=st.data())
def test_any_molecule_has_a_spectrum(positions, data):
    """Atoms down to 0.11 angstrom apart, of light and heavy elements."""
    elements = st.sampled_from([1, 6, 17, 55, 92, 96])
    n = len(positions)
    numbers = data.draw(st.lists(elements, min_size=n, max_size=n))
    one = batch((numbers, positions))
    features = OverlapEigenvalues().fit_transform(one)
    assert features[0].min() > -1e-13
    assert features[0].sum() == pytest.approx(4.0 * n, rel=1e-12)
    local = OverlapEigenvalues(r_cut=1.5).fit_transform(one).values
    assert local.min() > -1e-13
    # The matrix of the surroundings is W O W with the largest weight 1, that of the centre.
    assert (local[:, 0] >= 1.0 - 1e-12).all()
    assert (local[:, 0] <= features[0, 0] + 1e-12).all()


def test_far_atoms_do_not_overlap():
    for r in (30.0, 1e150, 1e200):
        far = batch(([1, 6], [[0.0, 0.0, 0.0], [r, r, 0.0]]))
        np.testing.assert_array_equal(OverlapEigenvalues().fit_transform(far), np.ones((1, 8)))
        local = OverlapEigenvalues(r_cut=2.0).fit_transform(far)
        np.testing.assert_array_equal(local.values, np.ones((2, 4)))


# -- symmetries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("handedness", [1.0, -1.0])
def test_rotations_reflections_and_order_of_atoms_do_not_matter(shaken, rng, handedness):
    other = moved(shaken, rng, handedness)
    for orbitals in ("s", "sp"):
        descriptor = OverlapEigenvalues(orbitals).fit(shaken)
        np.testing.assert_allclose(
            descriptor.transform(other), descriptor.transform(shaken), atol=1e-12
        )


def test_rows_of_atoms_follow_the_atoms(shaken, rng):
    descriptor = OverlapEigenvalues(r_cut=2.5).fit(shaken)
    features = descriptor.transform(shaken)
    order = rng.permutation(9)
    last = shaken[15]
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shuffled = batch((last.numbers[order], last.positions[order] @ turned))
    np.testing.assert_allclose(
        descriptor.transform(shuffled).values, features[15].values[order], atol=1e-12
    )


def test_atoms_have_the_same_bits_alone_in_threads_and_in_a_batch(shaken):
    many = shaken[np.tile(np.arange(16), 3)]
    descriptor = OverlapEigenvalues(r_cut=2.5).fit(many)
    expected = descriptor.set_params(n_jobs=1).transform(many)
    np.testing.assert_array_equal(
        descriptor.set_params(n_jobs=2).transform(many).values, expected.values
    )
    for k in range(16):
        np.testing.assert_array_equal(
            descriptor.transform(shaken[k]).values, expected[k + 16].values
        )


# -- the cutoff ------------------------------------------------------------------------------------


def with_far_atom(distance):
    """Water, and an atom at a distance from its oxygen."""
    positions = [[0.0, 0.0, 0.0], [0.0, 0.76, -0.59], [0.0, -0.76, -0.59], [0.0, 0.0, distance]]
    return batch(([8, 1, 1, 6], positions))


def spectrum_of_oxygen(distance, r_cut=3.0):
    descriptor = OverlapEigenvalues(r_cut=r_cut, size=4)
    return descriptor.fit_transform(with_far_atom(distance)).values[0]


def test_atom_crosses_the_cutoff_smoothly():
    outside = spectrum_of_oxygen(3.5)
    np.testing.assert_array_equal(spectrum_of_oxygen(3.0), outside)
    # Weights go to zero quadratically, the eigenvalues of W O W with the fourth power.
    jumps = [np.abs(spectrum_of_oxygen(3.0 - h) - outside).max() for h in (0.1, 0.01, 0.001)]
    assert jumps[0] > 1e-6
    assert jumps[1] < 2e-4 * jumps[0]
    assert jumps[2] < 1e-12
    # One-sided second differences agree, so that forces do not jump either.
    h = 1e-3
    inside, across = (
        (spectrum_of_oxygen(r + h) - 2 * spectrum_of_oxygen(r) + spectrum_of_oxygen(r - h)) / h**2
        for r in (3.0 - 2 * h, 3.0)
    )
    assert np.abs(inside - across).max() < 1e-3


def test_layout_holds_the_largest_surroundings():
    descriptor = OverlapEigenvalues("s", r_cut=3.0).fit(with_far_atom(3.5))
    assert descriptor.size_ == 3
    assert OverlapEigenvalues("s", r_cut=3.0).fit(with_far_atom(2.5)).size_ == 4
    with pytest.raises(
        LayoutError, match=r"structure 1 \(CH2O\): atom 0 has 4 atoms within 3\.0.*holds 3.*size=4"
    ):
        descriptor.transform(Structures.concatenate([with_far_atom(3.5), with_far_atom(2.5)]))
    same, columns = descriptor.widened(with_far_atom(3.5))
    assert same is descriptor
    wider, columns = descriptor.widened(with_far_atom(2.5))
    assert columns.tolist() == [0, 1, 2]
    assert wider.transform(with_far_atom(2.5)).values.shape == (4, 4)
    np.testing.assert_array_equal(
        wider.transform(with_far_atom(3.5)).values[:, :3],
        descriptor.transform(with_far_atom(3.5)).values,
    )


def test_what_it_returns_and_names(molecules):
    whole, atoms = OverlapEigenvalues("s"), OverlapEigenvalues("s", r_cut=2.0)
    assert (whole.local, atoms.local) == (False, True)
    features = atoms.fit_transform(molecules)
    assert isinstance(features, Environments)
    assert features.shape == whole.fit_transform(molecules).shape[:1]
    assert features.n_features == atoms.n_features_out_ == len(atoms.get_feature_names_out())
    assert whole.get_feature_names_out()[:2].tolist() == ["eigenvalue[0]", "eigenvalue[1]"]
    assert atoms.transform(molecules[:0]).values.shape == (0, atoms.n_features_out_)
    assert whole.transform(molecules[:0]).shape == (0, whole.n_features_out_)


# -- distances -------------------------------------------------------------------------------------


def test_distance_of_molecules_is_the_formula(shaken):
    spectra = [
        np.linalg.eigvalsh(naive.overlap_matrix(m.numbers, m.positions, RADII, "sp"))[::-1]
        for m in shaken[:6]
    ]
    expected = np.zeros((6, 6))
    for i, j in itertools.product(range(6), repeat=2):
        a, b = spectra[i].tolist(), spectra[j].tolist()
        n = max(len(a), len(b))
        a, b = a + [0.0] * (n - len(a)), b + [0.0] * (n - len(b))
        expected[i, j] = np.sqrt(naive.squared_euclidean(a, b) / (n / 4))
    # No size holds for distances.
    descriptor = OverlapEigenvalues(size=1)
    np.testing.assert_allclose(descriptor.distances(shaken[:6]), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        descriptor.distances(shaken[:2], shaken[2:6]), expected[:2, 2:], rtol=1e-10
    )
    np.testing.assert_allclose(
        descriptor.distances(shaken[2:6], shaken[:2]), expected[2:, :2], rtol=1e-10
    )


def test_distance_by_atoms_is_the_best_matching(shaken):
    some = shaken[[0, 1, 4, 5, 6]]  # three to five atoms
    descriptor = OverlapEigenvalues("s", r_cut=2.5)
    features = [item.values.tolist() for item in descriptor.fit_transform(some)]
    expected = [[naive.matched_distance(a, b) for b in features] for a in features]
    distances = descriptor.distances(some)
    np.testing.assert_allclose(distances, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_allclose(
        descriptor.distances(some[:2], some[2:]), distances[:2, 2:], rtol=1e-10
    )


def test_distances_are_a_metric_between_molecules_of_one_size(rng):
    positions = 1.5 * np.array(list(itertools.product(range(2), repeat=3)))[:6]
    some = batch(*[
        (rng.permutation([1, 1, 6, 6, 7, 8]), positions + rng.normal(0.0, 0.2, (6, 3)))
        for _ in range(12)
    ])  # fmt: skip
    for descriptor in (OverlapEigenvalues(), OverlapEigenvalues(r_cut=2.5)):
        d = descriptor.distances(some, some)
        np.testing.assert_allclose(d, d.T, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(np.diag(d), 0.0, atol=1e-14)
        assert (d[:, None] <= d[:, :, None].transpose(0, 2, 1) + d[None] + 1e-12).all()
        assert d[~np.eye(12, dtype=bool)].min() > 0.01


def chiral():
    """A carbon with four different neighbours."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
    lengths = np.array([1.09, 1.38, 1.77, 1.94])
    return [6, 1, 9, 17, 35], np.vstack([np.zeros(3), lengths[:, None] * corners])


@pytest.mark.parametrize("r_cut", [None, 4.0])
def test_mirror_images_are_at_distance_zero(r_cut):
    numbers, positions = chiral()
    both = batch((numbers, positions), (numbers, -positions), (numbers, positions * 1.01))
    descriptor = OverlapEigenvalues(r_cut=r_cut)
    d = descriptor.distances(both)
    assert d[0, 1] < 1e-12
    assert d[0, 2] > 1e-3
    assert descriptor.find_duplicates(both) == [[0, 1]]


def test_s_alone_does_not_see_what_sp_sees(embedded):
    """The smallest distance grows with the orbitals: s and p tell more apart than s."""
    smallest = []
    for orbitals in ("s", "sp"):
        d = OverlapEigenvalues(orbitals).distances(embedded[:150])
        np.fill_diagonal(d, np.inf)
        smallest.append(d.min())
    assert smallest[0] < smallest[1]


# -- duplicates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("r_cut", [None, 3.0])
def test_duplicates_are_found_in_a_shuffled_set(embedded, rng, r_cut):
    some = embedded[: 60 if r_cut is None else 20]
    n = len(some)
    copies = moved(some[: n // 2], rng), moved(some[: n // 4], rng, -1.0)
    noisy = [
        Structures(b.numbers, b.positions + rng.normal(0.0, 1e-4, b.positions.shape), b.offsets)
        for b in copies
    ]
    origin = np.concatenate([np.arange(n), np.arange(n // 2), np.arange(n // 4)])
    bare = Structures(some.numbers, some.positions, some.offsets)
    order = rng.permutation(len(origin))
    shuffled = Structures.concatenate([bare, *noisy])[order]
    origin = origin[order]
    expected = [np.flatnonzero(origin == k).tolist() for k in range(n // 2)]
    assert OverlapEigenvalues(r_cut=r_cut).find_duplicates(shuffled) == sorted(expected)


def test_distinct_molecules_are_no_duplicates(embedded):
    assert OverlapEigenvalues().find_duplicates(embedded) == []
    assert OverlapEigenvalues("s").find_duplicates(embedded[:200]) == []
    assert OverlapEigenvalues(r_cut=2.0).find_duplicates(embedded[:50]) == []


def test_same_spectrum_of_other_elements_is_no_duplicate():
    positions = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]]
    pairs = batch(
        ([6, 7], positions), ([6, 8], positions), ([8, 6], positions), ([7, 7], positions)
    )
    descriptor = OverlapEigenvalues(radii={"C": 0.7, "N": 0.7, "O": 0.7})
    np.testing.assert_allclose(descriptor.distances(pairs), 0.0, atol=1e-12)
    assert descriptor.find_duplicates(pairs) == [[1, 2]]


def test_groups_do_not_grow_by_small_steps():
    row = batch(*[([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.8 + 0.01 * k]]) for k in range(5)])
    for r_cut in (None, 50.0):
        descriptor = OverlapEigenvalues(r_cut=r_cut)
        d = descriptor.distances(row)
        tolerance = 1.1 * d[:-1, 1:].diagonal().max()
        assert tolerance < 0.9 * d[0, 2]
        assert descriptor.find_duplicates(row, tolerance=tolerance) == [[0, 1], [2, 3]]
        assert descriptor.find_duplicates(row, tolerance=1e-6) == []
        assert descriptor.find_duplicates(row, tolerance=10.0) == [[0, 1, 2, 3, 4]]
        assert descriptor.find_duplicates(row[:0]) == []
        assert descriptor.find_duplicates(row[3]) == []


def test_atoms_decide_where_their_means_agree():
    # Two far pairs of hydrogens, one of them shorter and one longer by as much.
    pairs = [[[0.0, 0.0, 9.0 * k], [0.0, r, 9.0 * k]] for k, r in enumerate([0.8, 0.8, 0.7, 0.9])]
    both = batch(([1] * 4, np.concatenate(pairs[:2])), ([1] * 4, np.concatenate(pairs[2:])))
    descriptor = OverlapEigenvalues(r_cut=3.0)
    first, second = (item.values.mean(axis=0) for item in descriptor.fit_transform(both))
    distance = descriptor.distances(both)[0, 1]
    assert np.linalg.norm(first - second) < 0.5 * distance
    assert descriptor.find_duplicates(both, tolerance=0.9 * distance) == []
    assert descriptor.find_duplicates(both, tolerance=1.1 * distance) == [[0, 1]]


def test_groups_are_those_of_all_comparisons(rng):
    points = rng.uniform(size=(120, 2))
    members = np.arange(0, 120, 2)
    expected = []
    for k in members:
        for group in expected:
            if np.linalg.norm(points[group[0]] - points[k]) <= 0.1:
                group.append(k)
                break
        else:
            expected.append([k])
    assert groups_within(members, points, 0.1) == expected
    assert groups_within(members, points, 0.1, lambda *_: False) == [[k] for k in members]
    # Whoever decides sees the first of the group and the newcomer, which are near.
    seen = []
    groups_within(members, points, 0.1, lambda a, b: bool(seen.append((a, b))))
    assert seen
    assert all(np.linalg.norm(points[a] - points[b]) <= 0.1 and a < b for a, b in seen)


def test_frames_are_compared_with_few_others(monkeypatch, rng):
    # Frames of a trajectory differ little in each column, and farther than the tolerance in all.
    points = rng.normal(size=(1000, 20))
    points = np.concatenate([points, points[::3]])
    rows, norm = [], np.linalg.norm

    def counted(differences, **keywords):
        rows.append(len(differences))
        return norm(differences, **keywords)

    monkeypatch.setattr(np.linalg, "norm", counted)
    groups = groups_within(np.arange(len(points)), points, 0.05)
    assert groups == [[k] if k % 3 else [k, 1000 + k // 3] for k in range(1000)]
    assert sum(rows) < 2 * len(points)


def test_structures_are_sorted_by_composition(molecules):
    twice = Structures.concatenate([molecules, molecules[::-1]])
    groups = [group.tolist() for group in same_composition(twice)]
    formulas = [m.formula for m in twice]
    expected = {name: [k for k, f in enumerate(formulas) if f == name] for name in set(formulas)}
    assert sorted(groups) == sorted(expected.values())


def test_matching_pays_for_atoms_without_partner():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0], [1.0, 0.5], [0.3, 0.4]])
    # The best partner is the second: the others pay 4 and 0.25.
    assert matching_cost(a, b) == pytest.approx(0.25 + 4.0 + 0.25)
    assert matching_cost(b, a) == matching_cost(a, b)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"orbitals": "spd"}, "orbitals='spd'"),
        ({"orbitals": ["s"]}, "orbitals=.'s'"),
        ({"r_cut": 0.0}, "r_cut=0.0"),
        ({"r_cut": 1e-170}, "r_cut=1e-170 must be.* from 1e-150"),
        ({"size": 10**30}, "size=10+ is no.* from 1 to 1000000"),
        ({"r_cut": np.inf}, "r_cut=inf"),
        ({"r_cut": "6"}, "r_cut='6'"),
        ({"size": 0}, "size=0"),
        ({"size": 2.5}, "size=2.5"),
        ({"radii": 0.7}, "radii=0.7 is no mapping"),
        ({"radii": {"C": 0.0}}, r"radii\['C'\]=0.0"),
        ({"radii": {"Xx": 1.0}}, "radii: 'Xx'"),
        ({"radii": {0.5: 1.0}}, "radii holds 0.5"),
    ],
)
def test_wrong_settings_are_named(molecules, setting, said):
    for use in ("fit", "distances", "find_duplicates"):
        if "size" in setting and use != "fit":
            continue
        with pytest.raises(SettingError, match=said):
            getattr(OverlapEigenvalues(**setting), use)(molecules)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, "small"])
def test_tolerance_is_positive(molecules, tolerance):
    with pytest.raises(SettingError, match="tolerance="):
        OverlapEigenvalues().find_duplicates(molecules, tolerance=tolerance)


def test_elements_without_radius_are_named():
    californium = batch(([98, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    for use in ("fit", "distances", "find_duplicates"):
        with pytest.raises(SettingError, match=r"radius of Cf .*radii=\{'Cf': \.\.\.\}"):
            getattr(OverlapEigenvalues(), use)(californium)
    assert OverlapEigenvalues(radii={"Cf": 1.7}).fit_transform(californium).shape == (1, 8)
    assert OverlapEigenvalues(radii={98: 1.7}).fit_transform(californium).shape == (1, 8)


def test_overflow_names_molecule_size_and_cure(molecules):
    descriptor = OverlapEigenvalues().fit(molecules[:3])
    message = r"structure 2 \(C2H6O\) has 9 atoms.*holds 5.*size=9.*KRR\(descriptor="
    with pytest.raises(LayoutError, match=message):
        descriptor.transform(molecules[[0, 1, 15]])
    with pytest.raises(LayoutError, match=r"structure 2 .*holds 4"):
        OverlapEigenvalues(size=4).fit(molecules)


def test_periodic_structures_have_no_distances(molecules):
    from ase.build import bulk

    for use in (OverlapEigenvalues().distances, OverlapEigenvalues().find_duplicates):
        with pytest.raises(StructureError, match="periodic"):
            use(bulk("C"))
    with pytest.raises(StructureError, match="periodic"):
        OverlapEigenvalues().distances(molecules, bulk("C"))
