"""FCHL19: distributions of distances and angles around each atom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_not_negative, is_positive, is_whole
from kernchem.descriptors import fchl19_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds, pair_table, point_names
from kernchem.descriptors.radii import element_numbers
from kernchem.elements import symbol
from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import SettingError
from kernchem.structures import Structures

__all__ = ["FCHL19"]

_Rows = npt.NDArray[np.int64]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 32
# Up to this many atoms, the distances in a molecule are tabulated at once (1 MB for each thread).
_WHOLE = 256
# Up to here no factor of the Gaussian of a triple leaves the range of floating-point numbers.
_LARGEST_EXPONENT = 1200.0
# Largest numbers of shells and orders; widths of pairs in units of the spacing of shells (below,
# they fall between shells) and of r_cut (above, shells are alike); and, beyond which features would
# underflow or overflow, the cutoffs, the angular width, the exponents and the weight.
_MOST = {"n_radial": 10_000, "n_radial_3": 10_000, "n_fourier": 100}
_NARROWEST, _WIDEST = 0.1, 10.0
_LARGEST = {
    "r_cut": 1e150,
    "a_cut": 1e150,
    "zeta": 10.0,
    "two_body_decay": 30.0,
    "three_body_decay": 30.0,
    "three_body_weight": 1e9,
}


class FCHL19(Descriptor):
    r"""FCHL19: two- and three-body distributions around each atom, by elements.

    Around atom i, for each element, at shells R evenly spaced up to ``r_cut``,

    .. math::
        \sum_j \frac{f(r_{ij})}{r_{ij}^{n_2}}\, \frac{1}{R\, \sigma \sqrt{2\pi}}
        \exp\left(-\frac{(\ln R - \mu)^2}{2 \sigma^2}\right), \quad
        \sigma^2 = \ln(1 + \eta_2 / r_{ij}^2), \quad \mu = \ln r_{ij} - \sigma^2 / 2

    with the cutoff :math:`f = (1 + \cos(\pi r / r_{cut})) / 2`; and for each pair of elements, at
    shells up to ``a_cut``, for odd m up to ``2 n_fourier - 1`` and both g = cos and g = sin,

    .. math::
        \sum_{j<k} w \sqrt{\eta_3 / \pi}\, \frac{1 + 3 \cos\theta_i \cos\theta_j \cos\theta_k}
        {(r_{ij} r_{ik} r_{jk})^{n_3}}\, f(r_{ij}) f(r_{ik})\,
        e^{-\eta_3 ((r_{ij} + r_{ik}) / 2 - R)^2}\; 2 e^{-(\zeta m)^2 / 2}\, g(m \theta_i)

    Parameters
    ----------
    r_cut : float, default 8.0
        Cutoff of pairs, angstrom.
    a_cut : float, default 8.0
        Cutoff of the two sides of triples, angstrom.
    n_radial : int, default 24
        Shells of pairs (``nRs2`` in qmllib).
    n_radial_3 : int, default 20
        Shells of triples (``nRs3``).
    n_fourier : int, default 1
        Orders of the angular part.
    eta2 : float, default 0.32
        Width of pairs, square angstrom.
    eta3 : float, default 2.7
        Width of triples, 1/angstrom^2.
    zeta : float, default pi
        Width of the angular part, radian.
    two_body_decay : float, default 1.8
        Exponent :math:`n_2`.
    three_body_decay : float, default 0.57
        Exponent :math:`n_3`.
    three_body_weight : float, default 13.4
        Weight w.
    elements : sequence of str or int, optional
        Elements that have columns; by default those seen in ``fit``.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers that have columns, ascending.
    n_features_out_ : int
        Number of columns.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.
    UnknownElementError
        By ``fit`` and ``transform``, if a molecule holds an element without columns.

    Notes
    -----
    The features are those of qmllib's ``generate_fchl19``, in the same order for the same elements:
    pairs by element and shell; then triples by pair of elements, shell, order, and cosine before
    sine. Its ``rcut``, ``acut``, ``nRs2``, ``nRs3`` and ``nFourier`` are ``r_cut``, ``a_cut``,
    ``n_radial``, ``n_radial_3`` and ``n_fourier`` here; other names and all defaults are the same.
    Values agree to rounding, but for sines of angles near 180 degrees: it takes them from arc
    cosines, which keep half of the digits (off by 2e-11 at most on QM7).

    They vanish smoothly at the cutoffs. The distance between j and k has no cutoff. Sines have a
    kink where three atoms pass through a line.

    Cost O(n^3 n_radial_3) for a molecule of n atoms within the cutoffs of each other. Atoms that
    see the same elements are kept together, without the columns of other elements
    (:attr:`~kernchem.environments.Environments.blocks`). An atom alone has zeros only. Peak memory
    of ``transform``: the output, 8 bytes per number; 100 bytes per atom; 8 bytes per row and column
    of blocks; and for each thread, with n atoms in its largest molecule, of which m are within
    ``a_cut`` of one of them, 16 n^2 bytes, but 64 m^2 for n above 256, and 8 (n_radial_3 + 2
    n_fourier + 14) n.

    References
    ----------
    .. [1] A. S. Christensen, L. A. Bratholm, F. A. Faber, O. A. von Lilienfeld, J. Chem. Phys.
       152, 044107 (2020), https://doi.org/10.1063/1.5126701

    Examples
    --------
    >>> from ase.build import molecule
    >>> FCHL19().fit_transform(molecule("H2O"))
    Environments(1 structures, 3 atoms, 168 features)
    """

    citation = (
        "A. S. Christensen, L. A. Bratholm, F. A. Faber, O. A. von Lilienfeld, FCHL revisited: "
        "faster and more accurate quantum machine learning, J. Chem. Phys. 152, 044107 (2020), "
        "https://doi.org/10.1063/1.5126701"
    )
    recommended_kernel = "gaussian"

    def __init__(
        self,
        *,
        r_cut: float = 8.0,
        a_cut: float = 8.0,
        n_radial: int = 24,
        n_radial_3: int = 20,
        n_fourier: int = 1,
        eta2: float = 0.32,
        eta3: float = 2.7,
        zeta: float = math.pi,
        two_body_decay: float = 1.8,
        three_body_decay: float = 0.57,
        three_body_weight: float = 13.4,
        elements: Sequence[str | int] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.r_cut = r_cut
        self.a_cut = a_cut
        self.n_radial = n_radial
        self.n_radial_3 = n_radial_3
        self.n_fourier = n_fourier
        self.eta2 = eta2
        self.eta3 = eta3
        self.zeta = zeta
        self.two_body_decay = two_body_decay
        self.three_body_decay = three_body_decay
        self.three_body_weight = three_body_weight
        self.elements = elements
        self.n_jobs = n_jobs

    @property
    def local(self) -> bool:
        """Whether the features are those of atoms: they are."""
        return True

    def _learn(self, structures: Structures) -> None:
        self._check_settings()
        if self.elements is not None:
            self.elements_ = element_numbers(self.elements)
            self._require_known_elements(structures)
        n = len(self.elements_)
        self.n_features_out_ = n * self.n_radial + self._width_3() * (n * (n + 1) // 2)

    def _width_3(self) -> int:
        """Return the number of columns of one pair of elements."""
        return 2 * self.n_fourier * self.n_radial_3

    def _check_settings(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not is_whole(value, 1) or value > most:
                raise SettingError(f"{name}={value!r}; give a whole number from 1 to {most}")
        names = "r_cut a_cut eta2 eta3 zeta two_body_decay three_body_decay three_body_weight"
        for name in names.split():
            value = getattr(self, name)
            may_vanish = name.startswith(("two", "three"))
            if not (is_not_negative(value) if may_vanish else is_positive(value)):
                limit = "from 0 on" if may_vanish else "above 0"
                raise SettingError(f"{name}={value!r}; give a finite number {limit}")
            if value > _LARGEST.get(name, math.inf):
                raise SettingError(f"{name}={value!r}; give {_LARGEST[name]:g} at most")
        width, spacing = math.sqrt(self.eta2), self.r_cut / self.n_radial
        if not _NARROWEST * spacing <= width <= _WIDEST * self.r_cut:
            raise SettingError(
                f"eta2={self.eta2!r} is a width of {width:.2g} angstrom, but the shells are "
                f"{spacing:.2g} angstrom apart, up to r_cut={self.r_cut!r}: choose eta2 from "
                f"{(_NARROWEST * spacing) ** 2:.2g} to {(_WIDEST * self.r_cut) ** 2:.2g}, or "
                "another r_cut or n_radial"
            )
        if self.eta3 * self.a_cut**2 > _LARGEST_EXPONENT:
            raise SettingError(
                f"eta3={self.eta3!r} is too narrow for a_cut={self.a_cut!r}: their product "
                f"eta3 a_cut^2 may be {_LARGEST_EXPONENT:.0f} at most; choose smaller ones"
            )

    def _compute(self, structures: Structures) -> Environments:
        kinds = element_kinds(structures.numbers, self.elements_)
        orders = 2.0 * np.arange(self.n_fourier) + 1.0
        cuts = np.array([self.r_cut, self.a_cut], dtype=np.float64)
        etas = np.array([self.eta2, self.eta3], dtype=np.float64)
        decays = np.array([self.two_body_decay, self.three_body_decay], dtype=np.float64)
        weight = float(self.three_body_weight)
        fourier = 2.0 * np.exp(-0.5 * (self.zeta * orders) ** 2)
        shells2, shells3 = self._shells()
        signatures, of_atom = self._signatures(structures, kinds)
        starts, pairs, n_pairs = self._layouts(signatures)
        members = [np.flatnonzero(of_atom == number) for number in range(len(signatures))]
        columns = [self._columns(signature) for signature in signatures]
        # One array for all blocks, as compiled code takes no list of arrays.
        out = np.zeros(sum(len(a) * len(c) for a, c in zip(members, columns, strict=True)))
        rows = np.stack([np.empty_like(of_atom), of_atom], axis=1)
        blocks, begin = [], 0
        for atoms, used in zip(members, columns, strict=True):
            end = begin + len(atoms) * len(used)
            rows[atoms, 0] = begin + len(used) * np.arange(len(atoms))
            blocks.append(FeatureBlock(atoms, used, out[begin:end].reshape(len(atoms), -1)))
            begin = end

        def fill(start: int, stop: int) -> None:
            fchl19_jit.fill_fchl19(
                kinds,
                structures.positions,
                structures.offsets,
                cuts,
                etas,
                decays,
                weight,
                fourier,
                shells2,
                shells3,
                rows,
                starts,
                pairs,
                n_pairs,
                _WHOLE,
                start,
                stop,
                out,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return Environments.from_blocks(
            blocks, structures.numbers, structures.offsets, self.n_features_out_
        )

    def _signatures(
        self, structures: Structures, kinds: _Rows
    ) -> tuple[npt.NDArray[np.bool_], _Rows]:
        """Return the sets of elements that atoms see, (n_sets, n_kinds), and the set of each atom.

        An atom sees the elements of the other atoms of its molecule.
        """
        n_kinds = len(self.elements_)
        owners = np.repeat(np.arange(len(structures)), structures.sizes)
        counts = np.bincount(owners * n_kinds + kinds, minlength=len(structures) * n_kinds)
        # None, one or several atoms of an element: more does not matter. Few molecules differ in
        # that, and what an atom sees depends on it and on the atom's own element.
        kept = np.minimum(counts.reshape(-1, n_kinds), 2).astype(np.uint8)
        classes, of_molecule = _distinct_rows(kept)
        seen = classes[:, None, :] > np.eye(n_kinds, dtype=np.uint8)
        of_atom = of_molecule[owners] * n_kinds + kinds
        present, of_atom = np.unique(of_atom, return_inverse=True)
        signatures, numbers = _distinct_rows(seen.reshape(-1, n_kinds)[present])
        return signatures, numbers[of_atom]

    def _layouts(self, signatures: npt.NDArray[np.bool_]) -> tuple[_Rows, _Rows, _Rows]:
        """Return columns and numbers of pairs by set of elements, as ``fill_fchl19`` wants them."""
        n = len(self.elements_)
        starts = np.zeros((len(signatures), n + 1), dtype=np.int64)
        np.cumsum(signatures * int(self.n_radial), axis=1, out=starts[:, 1:])
        first, second = np.triu_indices(n)
        both = signatures[:, first] & signatures[:, second]
        pairs = np.zeros((len(signatures), n, n), dtype=np.int64)
        pairs[:, first, second] = np.cumsum(both, axis=1) - 1
        return starts, pairs, both.sum(axis=1)

    def _shells(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the radii of the shells of pairs and of triples, angstrom."""
        pairs = np.linspace(0.0, self.r_cut, self.n_radial + 1)[1:]
        return pairs, np.linspace(0.0, self.a_cut, self.n_radial_3 + 1)[1:]

    def _columns(self, signature: npt.NDArray[np.bool_]) -> _Rows:
        """Return the columns of an atom that sees these elements."""
        n = len(self.elements_)
        pairs, _ = pair_table(self.elements_)
        width = self._width_3()
        used = np.repeat(signature, self.n_radial).tolist()
        for a, b in pairs:
            used += [bool(signature[a] and signature[b])] * width
        assert len(used) == n * self.n_radial + len(pairs) * width
        return np.flatnonzero(used)

    def _feature_names(self) -> list[str]:
        names = [symbol(number) for number in self.elements_]
        shells2, shells3 = (point_names(shells, "g", 3) for shells in self._shells())
        found = [f"{name}(r={shell})" for name in names for shell in shells2]
        for a, b in pair_table(self.elements_)[0]:
            for shell in shells3:
                for m in range(self.n_fourier):
                    for part in ("cos", "sin"):
                        angle = f"{part}({2 * m + 1} theta)"
                        found.append(f"{names[a]}-{names[b]}(r={shell}, {angle})")
        return found


def _distinct_rows(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], _Rows]:
    """Return the distinct rows of a table, and for each row which of them it is."""
    distinct, numbers = np.unique(rows, axis=0, return_inverse=True)
    # Some versions of NumPy give the numbers another shape.
    return distinct, numbers.reshape(-1)
