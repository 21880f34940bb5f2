"""Encoded bonds: smoothed distributions of distances per pair of elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_not_negative, is_positive, is_whole
from kernchem.descriptors import encoded_bonds_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds, pair_name, pair_table
from kernchem.descriptors.radii import bond_radii, element_numbers, radius_table
from kernchem.errors import SettingError
from kernchem.structures import Structures

__all__ = ["EncodedBonds"]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 128
# The least width in units of the spacing of the grid.
_NARROWEST = 0.1
# No chain of bonds is longer, and compiled code holds it.
_MOST_BONDS = 2**62


class EncodedBonds(Descriptor):
    """Encoded bonds: distributions of distances on a grid, one per pair of elements.

    ``f_AB(theta) = sum_ij exp(-(theta - r_ij)^2 / (2 sigma^2))`` over the pairs of an atom of
    element A and one of element B, for each unordered pair A, B and each theta of a grid.

    Parameters
    ----------
    max_bonds : int, optional
        Count only pairs at most this many bonds apart; None counts all pairs of atoms. Three bonds
        (up to 1-4 pairs) make the better features of small organic molecules.
    elements : sequence of str or int, optional
        Symbols or atomic numbers of the elements in the layout; by default those seen in ``fit``.
    sigma : float, default 0.05
        Width of the Gaussians, angstrom.
    grid : (float, float, int), default (0.2, 6.0, 100)
        First and last theta in angstrom, and their number.
    bond_factor : float, default 1.3
        Two atoms are bonded if they are nearer than this times the sum of their radii.
    radii : mapping of str to float, optional
        Covalent radii in angstrom by element symbol, in place of those of Cordero et al. [2]_.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers in the layout.
    grid_ : array (n_grid,)
        The grid of theta, angstrom.
    pairs_ : list of str
        Names of the pairs of elements (``"C-H"``), in the order of the columns.
    n_features_out_ : int
        Number of pairs times number of grid points.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have, or if bonds must be found and an
        element has no known radius.

    Notes
    -----
    The number of features depends on the elements only: molecules of any size fit. The features are
    smooth in the distances, but with ``max_bonds`` they jump where a bond forms or breaks. Pairs
    that no chain of bonds joins are left out then. Each Gaussian is cut off where it is below
    1e-17. Of distances beyond the grid only the tails count that reach into it. Cost O(n^2) per
    molecule of n atoms.

    References
    ----------
    .. [1] C. R. Collins, G. J. Gordon, O. A. von Lilienfeld, D. J. Yaron, J. Chem. Phys. 148,
       241718 (2018), https://doi.org/10.1063/1.5020441
    .. [2] B. Cordero et al., Dalton Trans. 2832 (2008), https://doi.org/10.1039/b801115j

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = EncodedBonds(grid=(0.9, 1.1, 3), sigma=0.1).fit([molecule("H2O")])
    >>> descriptor.pairs_
    ['H-H', 'H-O', 'O-O']
    >>> descriptor.transform(molecule("H2O")).round(3)[0, 3:6].tolist()
    [1.581, 1.904, 0.843]
    """

    citation = (
        "C. R. Collins, G. J. Gordon, O. A. von Lilienfeld, D. J. Yaron, Constant size descriptors "
        "for accurate machine learning models of molecular properties, J. Chem. Phys. 148, 241718 "
        "(2018), https://doi.org/10.1063/1.5020441"
    )
    recommended_kernel = "gaussian"

    def __init__(
        self,
        max_bonds: int | None = None,
        *,
        elements: Sequence[str | int] | None = None,
        sigma: float = 0.05,
        grid: tuple[float, float, int] = (0.2, 6.0, 100),
        bond_factor: float = 1.3,
        radii: Mapping[str, float] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.max_bonds = max_bonds
        self.elements = elements
        self.sigma = sigma
        self.grid = grid
        self.bond_factor = bond_factor
        self.radii = radii
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        if self.max_bonds is not None and not is_whole(self.max_bonds, 1):
            raise SettingError(
                f"max_bonds={self.max_bonds!r} is no number of bonds; give a whole number from 1 "
                "on, or None to count all pairs"
            )
        for name in ("sigma", "bond_factor"):
            value = getattr(self, name)
            if not is_positive(value):
                raise SettingError(f"{name}={value!r} must be a finite number above 0")
        self.grid_ = _theta(self.grid)
        narrowest = _NARROWEST * (self.grid_[1] - self.grid_[0])
        if self.sigma < narrowest:
            raise SettingError(
                f"sigma={self.sigma!r} lets Gaussians fall between the points of the grid: it must "
                f"be {narrowest:.2g} angstrom or more with grid={self.grid!r}; choose a larger "
                "width or more points"
            )
        if self.elements is not None:
            self.elements_ = element_numbers(self.elements)
            self._require_known_elements(structures)
        self._radii = self._bond_radii()
        pairs, _ = pair_table(self.elements_)
        self.pairs_ = [pair_name(self.elements_[a], self.elements_[b]) for a, b in pairs]
        self.n_features_out_ = len(pairs) * len(self.grid_)

    def _bond_radii(self) -> npt.NDArray[np.float64]:
        """Return the covalent radius of each element of the layout, angstrom."""
        if self.max_bonds is None:
            return radius_table(self.radii)[list(self.elements_)]
        return bond_radii(self.elements_, self.radii, ", or max_bonds=None")

    def _compute(self, structures: Structures) -> npt.NDArray[np.float64]:
        out = np.zeros((len(structures), self.n_features_out_))
        if len(structures) == 0:
            return out
        _, table = pair_table(self.elements_)
        pair_starts = table * len(self.grid_)
        kinds = element_kinds(structures.numbers, self.elements_)
        largest = int(structures.sizes.max())

        def fill(start: int, stop: int) -> None:
            encoded_bonds_jit.fill_encoded_bonds(
                kinds,
                structures.positions,
                structures.offsets,
                self._radii,
                float(self.bond_factor),
                -1 if self.max_bonds is None else min(int(self.max_bonds), _MOST_BONDS),
                pair_starts,
                self.grid_,
                float(self.sigma),
                out,
                start,
                stop,
                largest,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return out

    def _feature_names(self) -> list[str]:
        return [f"{name}[{g}]" for name in self.pairs_ for g in range(len(self.grid_))]


def _theta(grid: tuple[float, float, int]) -> npt.NDArray[np.float64]:
    """Return the grid points that a user's triple stands for."""
    if isinstance(grid, tuple | list) and len(grid) == 3:
        first, last, n = grid
        numbers = is_not_negative(first) and is_positive(last) and is_whole(n, 2)
        if numbers and first < last:
            return np.linspace(first, last, int(n))
    raise SettingError(
        f"grid={grid!r} is no grid; give (first, last, number), in angstrom with "
        "0 <= first < last and at least 2 points"
    )
