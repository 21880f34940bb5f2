"""Atom-centred symmetry functions, resolved by element or weighted."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_positive
from kernchem.descriptors import acsf_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds, pair_name
from kernchem.descriptors.radii import element_number, element_numbers
from kernchem.descriptors.symmetry_functions import (
    angular_layout,
    angular_parameters,
    radial_parameters,
    wave_numbers,
)
from kernchem.elements import MAX_ATOMIC_NUMBER, symbol
from kernchem.environments import Environments
from kernchem.errors import SettingError
from kernchem.structures import Structures

__all__ = ["ACSF", "WACSF"]

_Array = npt.NDArray[np.float64]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 64
_CUTOFFS = ("cosine", "tanh")


class _SymmetryFunctions(Descriptor):
    """What both kinds share: sums over neighbours, and over pairs of neighbours, of each atom.

    ``_learn`` of a subclass sets ``_radial`` (n, 2), ``_kappas`` (m,), ``_narrow`` and ``_wide``.
    """

    recommended_kernel = "gaussian"

    r_cut: float
    cutoff: str
    n_jobs: int | None
    _radial: _Array
    _kappas: _Array
    _narrow: _Array
    _wide: _Array

    @property
    def local(self) -> bool:
        """Whether there is one row per atom: always."""
        return True

    @abstractmethod
    def _kinds_and_weights(
        self, structures: Structures
    ) -> tuple[npt.NDArray[np.int64], int, _Array]:
        """Return the kind of each atom, the number of kinds, and the weight of each atom."""

    def _check_cutoff(self) -> None:
        if not is_positive(self.r_cut):
            raise SettingError(f"r_cut={self.r_cut!r} must be a finite number of angstrom above 0")
        if not isinstance(self.cutoff, str) or self.cutoff not in _CUTOFFS:
            raise SettingError(f"cutoff={self.cutoff!r} is unknown; choose 'cosine' or 'tanh'")

    def _set_width(self, n_kinds: int) -> None:
        n_radial, n_angular = len(self._radial) + len(self._kappas), len(self._narrow)
        n_angular += len(self._wide)
        self.n_features_out_ = n_kinds * n_radial + n_kinds * (n_kinds + 1) // 2 * n_angular
        if self.n_features_out_ == 0:
            raise SettingError(
                f"{type(self).__name__} has neither radial nor angular functions; give at least one"
            )

    def _compute(self, structures: Structures) -> Environments:
        kinds, n_kinds, weights = self._kinds_and_weights(structures)
        narrow = angular_layout(self._narrow, 0)
        wide = angular_layout(self._wide, len(self._narrow))
        out = np.zeros((len(structures.numbers), self.n_features_out_))

        def fill(start: int, stop: int) -> None:
            acsf_jit.fill_symmetry_functions(
                structures.positions,
                kinds,
                weights,
                structures.offsets,
                start,
                stop,
                n_kinds,
                float(self.r_cut),
                self.cutoff == "tanh",
                self._radial,
                self._kappas,
                narrow,
                wide,
                out,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return Environments._unchecked(out, structures.numbers, structures.offsets)


class ACSF(_SymmetryFunctions):
    r"""Atom-centred symmetry functions of Behler and Parrinello, one row per atom.

    For each element of a neighbour j the radial functions, and for each unordered pair of elements
    of two neighbours j, k the angular functions of atom i are

    .. math::
        G^1 &= \sum_j f(r_{ij}), \qquad
        G^2 = \sum_j e^{-\eta (r_{ij} - r_s)^2} f(r_{ij}), \qquad
        G^3 = \sum_j \cos(\kappa r_{ij}) f(r_{ij}) \\
        G^4 &= 2^{1 - \zeta} \sum_{j<k} (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)} f(r_{ij}) f(r_{ik}) f(r_{jk}) \\
        G^5 &= 2^{1 - \zeta} \sum_{j<k} (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta (r_{ij}^2 + r_{ik}^2)} f(r_{ij}) f(r_{ik})

    with a cutoff function :math:`f` that vanishes from :math:`r_{cut}` on:
    :math:`(\cos(\pi r / r_{cut}) + 1) / 2` or :math:`\tanh^3(1 - r / r_{cut})`.

    Parameters
    ----------
    r_cut : float, default 6.0
        Radius of the surroundings of an atom, angstrom.
    g2 : {"shifted", "centred"}, sequence of (float, float) or None, default "shifted"
        Rows (eta, r_s) in 1/angstrom^2 and angstrom; the name of a ready set (see Notes); or None
        for no such functions.
    g3 : sequence of float, optional
        Wave numbers kappa, 1/angstrom.
    g4 : {"centred"}, sequence of (float, float, float) or None, default "centred"
        Rows (eta, zeta, lambda), eta in 1/angstrom^2; the name of a ready set; or None. zeta is
        above 0 and lambda from -1 to 1. A fourth number in each row is r_s, angstrom, by which
        every distance is shifted in the Gaussians.
    g5 : {"centred"}, sequence of (float, float, float) or None, optional
        The same for G5.
    cutoff : {"cosine", "tanh"}, default "cosine"
        The cutoff function. "tanh" also has a second derivative of zero at ``r_cut``.
    species : sequence of str or int, optional
        Symbols or atomic numbers of the elements in the layout; by default those seen in ``fit``.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers in the layout, ascending.
    n_features_out_ : int
        Elements times (1 + G2 + G3) plus unordered pairs of elements times (G4 + G5).

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.

    Notes
    -----
    The ready sets are those that Gastegger et al. [3]_ start from. "shifted": ``r_s`` on an even
    grid from 0.5 to ``r_cut - 0.5``, about a third of an angstrom apart, each Gaussian as wide
    (standard deviation) as the spacing. "centred": Gaussians at the atom, as wide as the points of
    an even grid from 1.0 to ``r_cut - 0.5``: ten for G2, three for G4 and G5, there with zeta 1, 2
    and 4 and lambda 1 and -1. :mod:`kernchem.descriptors.symmetry_functions` makes sets of other
    sizes.

    Columns are those of DScribe: G1, G2, G3 of each neighbour's element, ascending; then G4, G5 of
    the pairs of elements (a, b), a <= b, sorted by b and then by a. With the cosine cutoff the
    values agree to rounding too. The element of the atom itself is in none of them: kernels between
    atoms compare atoms of the same element only.

    Molecules of any size fit. Cost O(m^2) per atom with m neighbours, where exponentials are taken
    per pair and not per triple, and O(n^2) comparisons of distances per molecule of n atoms. A zeta
    that is no whole number costs a logarithm per triple; below 1 it makes derivatives infinite
    where three atoms form a line. Peak memory of ``transform``: the output, 8 bytes per number; 50
    bytes per atom; and for each thread 8 (8 + G) bytes per neighbour of each atom in its largest
    molecule, with G different Gaussians in the angular functions, and 20 (2 + G) kilobytes.

    References
    ----------
    .. [1] J. Behler, M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007),
       https://doi.org/10.1103/PhysRevLett.98.146401
    .. [2] J. Behler, J. Chem. Phys. 134, 074106 (2011), https://doi.org/10.1063/1.3553717
    .. [3] M. Gastegger, L. Schwiedrzik, M. Bittermann, F. Berzsenyi, P. Marquetand, J. Chem. Phys.
       148, 241709 (2018), https://doi.org/10.1063/1.5019667

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = ACSF(g2=[(1.0, 1.0)], g4=[(0.1, 1, 1)]).fit([molecule("H2O")])
    >>> descriptor.get_feature_names_out().tolist()
    ['H:G1', 'H:G2[0]', 'O:G1', 'O:G2[0]', 'H-H:G4[0]', 'H-O:G4[0]', 'O-O:G4[0]']
    >>> descriptor.transform(molecule("H2O")).values[0].round(3).tolist()
    [1.874, 1.872, 0.0, 0.0, 0.371, 0.0, 0.0]
    """

    citation = (
        "J. Behler, Atom-centered symmetry functions for constructing high-dimensional neural "
        "network potentials, J. Chem. Phys. 134, 074106 (2011), https://doi.org/10.1063/1.3553717"
    )

    def __init__(
        self,
        r_cut: float = 6.0,
        *,
        g2: str | Sequence[Sequence[float]] | None = "shifted",
        g3: Sequence[float] | None = None,
        g4: str | Sequence[Sequence[float]] | None = "centred",
        g5: str | Sequence[Sequence[float]] | None = None,
        cutoff: str = "cosine",
        species: Sequence[str | int] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.r_cut = r_cut
        self.g2 = g2
        self.g3 = g3
        self.g4 = g4
        self.g5 = g5
        self.cutoff = cutoff
        self.species = species
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        self._check_cutoff()
        # G1 is a Gaussian of exponent 0.
        given = radial_parameters(self.g2, "g2", self.r_cut)
        self._radial = np.concatenate([np.zeros((1, 2)), given])
        self._kappas = wave_numbers(self.g3, "g3")
        self._narrow = angular_parameters(self.g4, "g4", self.r_cut)
        self._wide = angular_parameters(self.g5, "g5", self.r_cut)
        if self.species is not None:
            self.elements_ = element_numbers(self.species, "species")
            self._require_known_elements(structures)
        self._set_width(len(self.elements_))

    def _kinds_and_weights(
        self, structures: Structures
    ) -> tuple[npt.NDArray[np.int64], int, _Array]:
        kinds = element_kinds(structures.numbers, self.elements_)
        return kinds, len(self.elements_), np.ones(len(kinds))

    def _feature_names(self) -> list[str]:
        radial = ["G1", *(f"G2[{k}]" for k in range(len(self._radial) - 1))]
        radial += [f"G3[{k}]" for k in range(len(self._kappas))]
        angular = [f"G4[{k}]" for k in range(len(self._narrow))]
        angular += [f"G5[{k}]" for k in range(len(self._wide))]
        names = [f"{symbol(z)}:{function}" for z in self.elements_ for function in radial]
        for b, second in enumerate(self.elements_):
            for first in self.elements_[: b + 1]:
                pair = pair_name(first, second)
                names += [f"{pair}:{function}" for function in angular]
        return names


class WACSF(_SymmetryFunctions):
    r"""Weighted atom-centred symmetry functions: as many columns whatever the elements.

    Neighbours of all elements are summed, each with a weight w, by default its atomic number:

    .. math::
        W^{rad} &= \sum_j w_j e^{-\eta (r_{ij} - r_s)^2} f(r_{ij}) \\
        W^{ang} &= 2^{1 - \zeta} \sum_{j<k} w_j w_k (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta [(r_{ij} - r_s)^2 + (r_{ik} - r_s)^2 + (r_{jk} - r_s)^2]}
            f(r_{ij}) f(r_{ik}) f(r_{jk})

    with the cutoff functions :math:`f` of :class:`ACSF`.

    Parameters
    ----------
    r_cut : float, default 6.0
        Radius of the surroundings of an atom, angstrom.
    radial : {"shifted", "centred"}, sequence of (float, float) or None, default "shifted"
        Rows (eta, r_s) in 1/angstrom^2 and angstrom; the name of a ready set of :class:`ACSF`; or
        None for no radial functions.
    angular : {"centred"}, sequence of (float, float, float) or None, default "centred"
        Rows (eta, zeta, lambda), or (eta, zeta, lambda, r_s); the name of a ready set; or None.
    weights : {"number", "one"} or mapping of str to float, default "number"
        The atomic number of a neighbour, or 1 for all; or weights by element symbol, in place of
        the atomic numbers of these elements.
    cutoff : {"cosine", "tanh"}, default "cosine"
        The cutoff function.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers seen in ``fit``.
    n_features_out_ : int
        Number of radial and angular functions.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.

    Notes
    -----
    Each unordered pair of neighbours counts once, as in :class:`ACSF` and in n2p2; the published
    formula sums over both orders, and is twice as large.

    A column cannot tell one oxygen from eight hydrogens at the same distance: where there are few
    elements, :class:`ACSF` resolves them. Cost and peak memory are its.

    References
    ----------
    M. Gastegger, L. Schwiedrzik, M. Bittermann, F. Berzsenyi, P. Marquetand, J. Chem. Phys. 148,
    241709 (2018), https://doi.org/10.1063/1.5019667

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = WACSF(radial=[(1.0, 1.0)], angular=[(0.1, 1, 1)]).fit([molecule("H2O")])
    >>> descriptor.transform(molecule("H2O")).values.round(3).tolist()
    [[1.872, 0.371], [8.132, 6.999], [8.132, 6.999]]
    """

    citation = (
        "M. Gastegger, L. Schwiedrzik, M. Bittermann, F. Berzsenyi, P. Marquetand, wACSF: Weighted "
        "atom-centered symmetry functions as descriptors in machine learning potentials, J. Chem. "
        "Phys. 148, 241709 (2018), https://doi.org/10.1063/1.5019667"
    )

    def __init__(
        self,
        r_cut: float = 6.0,
        *,
        radial: str | Sequence[Sequence[float]] | None = "shifted",
        angular: str | Sequence[Sequence[float]] | None = "centred",
        weights: str | Mapping[str, float] = "number",
        cutoff: str = "cosine",
        n_jobs: int | None = None,
    ) -> None:
        self.r_cut = r_cut
        self.radial = radial
        self.angular = angular
        self.weights = weights
        self.cutoff = cutoff
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        self._check_cutoff()
        self._weights = _weight_table(self.weights)
        self._radial = radial_parameters(self.radial, "radial", self.r_cut)
        self._kappas = np.zeros(0)
        self._narrow = angular_parameters(self.angular, "angular", self.r_cut)
        self._wide = np.zeros((0, 4))
        self._set_width(1)

    def _kinds_and_weights(
        self, structures: Structures
    ) -> tuple[npt.NDArray[np.int64], int, _Array]:
        return np.zeros_like(structures.numbers), 1, self._weights[structures.numbers]

    def _feature_names(self) -> list[str]:
        return [
            *(f"radial[{k}]" for k in range(len(self._radial))),
            *(f"angular[{k}]" for k in range(len(self._narrow))),
        ]


def _weight_table(weights: Any) -> _Array:
    """Return the weight of each atomic number, array (119,)."""
    table = np.arange(MAX_ATOMIC_NUMBER + 1.0)
    if isinstance(weights, str) and weights in {"number", "one"}:
        return table if weights == "number" else np.ones_like(table)
    if not isinstance(weights, Mapping):
        raise SettingError(
            f"weights={weights!r}: choose 'number' or 'one', or write e.g. {{'C': 2.55}}"
        )
    for name, weight in weights.items():
        number = element_number(name, "weights")
        real = isinstance(weight, int | float | np.integer | np.floating)
        if not real or isinstance(weight, bool) or not math.isfinite(weight):
            raise SettingError(f"weights[{name!r}]={weight!r} must be a finite number")
        table[number] = weight
    return table
