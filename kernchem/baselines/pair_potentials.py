"""Sums over pairs of atoms as baselines: they need no program and cost microseconds a molecule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.baselines import pair_potentials_jit
from kernchem.baselines.element_parameters import (
    PAULING,
    check_parameter,
    element_values,
    slopes_of_parameter,
)
from kernchem.baselines.pair_sums import Evaluation, PairPotential
from kernchem.elements import covalent_radii, symbol
from kernchem.errors import PropertyError, SettingError
from kernchem.structures import Structures

__all__ = ["ZBL", "DampedCoulomb", "YukawaCore"]

_Array = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]

#: Coulomb's constant, kcal/mol angstrom per squared elementary charge (CODATA 2018).
COULOMB = 332.063714
#: Atoms that share a bond are nearer than this many sums of covalent radii, as in the counts of
#: neighbours of S. Grimme et al., J. Chem. Phys. 132, 154104 (2010).
_BOND_LENGTH = 4.0 / 3.0
#: The universal screening function of Ziegler, Biersack and Littmark, and its length in angstrom.
_ZBL_WEIGHTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_ZBL_RATES = np.array([3.19980, 0.94229, 0.40290, 0.20162])
_ZBL_LENGTH = 0.46850
_ZBL_POWER = 0.23

_PERIODIC = (
    "it is periodic, and pair potentials are sums over molecules without images; use a program or "
    "a calculator that knows periodic cells"
)


class _ElementPotential(PairPotential):
    """A potential whose parameters belong to elements."""

    def _needed(self) -> dict[str, tuple[str, _Array]]:
        """Return tables (119,) by the name of what they hold, with the cure of a gap."""
        found = {}
        for name in self._parameters:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                check_parameter(name, value)
                found[name] = f"add it to {name}", element_values(value)
            elif value is not None:
                check_parameter(name, value)
        return found

    def _reasons(self, structures: Structures) -> list[str]:
        needed = self._needed()
        reasons = ["" for _ in range(len(structures))]
        for name, (cure, table) in needed.items():
            missing = np.isnan(table[structures.numbers])
            for atom in np.flatnonzero(missing)[::-1]:
                k, _ = structures._locate(atom)
                element = symbol(int(structures.numbers[atom]))
                reasons[k] = f"{type(self).__name__} has no {name} of {element}; {cure}"
        if structures.pbc is not None:
            for row in np.flatnonzero(structures.pbc.any(axis=1)):
                reasons[row] = _PERIODIC
        return reasons


class DampedCoulomb(_ElementPotential):
    r"""Coulomb energy of atomic charges of Gaussian shape.

    .. math::
        E = k \sum_{A<B} q_A q_B\, \frac{\mathrm{erf}(\gamma_{AB} r_{AB})}{r_{AB}}, \qquad
        \gamma_{AB} = \sqrt{\frac{a_A a_B}{a_A + a_B}}, \qquad a_A = \frac{1}{(w_A R_A)^2}

    The density of an atom falls off as :math:`\exp(-a_A r^2)`, on the scale of its covalent radius
    R times the width w. Far apart this is Coulomb's law; at zero distance it is finite.

    Parameters
    ----------
    charges : str, default "bonds"
        Name of a property per atom that holds the charges, e.g. "q_gfn2", in elementary charges.
        "bonds" makes them of electronegativities: a bond moves the charge
        ``transfer (chi_B - chi_A)`` from A to B, so that a molecule has the right total charge.
        A molecule's own charge is spread evenly over its atoms, which is crude.
    width : float or mapping, default 1.0
        Width w of the density in units of the covalent radius: one number for all elements, or one
        per element as in ``{"H": 1.0, "C": 1.2}``.
    width_bounds : pair of float or "fixed", default (0.3, 3.0)
        Range in which an optimizer may vary the widths.
    transfer : float, default 0.25
        Charge that a bond moves per unit of electronegativity, elementary charges. Dipole moments
        of HF, HCl, water and ammonia give 0.23, 0.18, 0.27 and 0.32.
    transfer_bounds : pair of float or "fixed", default "fixed"
        Range of it. Of neutral molecules the energy goes with its square, which is what a fitted
        slope varies too.
    electronegativities : mapping, optional
        Electronegativity of each element; Pauling's by default.
    electronegativities_bounds : pair of float or "fixed", default "fixed"
        Range of given ones; Pauling's are not varied.

    Raises
    ------
    SettingError
        If a parameter is not a positive number.
    PropertyError
        If the structures lack the property, or it is not one number per atom.

    Notes
    -----
    O(n_atoms^2) per molecule. How much of a bond two atoms have is
    :math:`\frac{1}{2} \mathrm{erfc}(7.5 (r / l - 1))` with l of 4/3 sums of covalent radii, so that
    energies are smooth. Forces with "bonds" include the change of the charges; given charges are
    held as they are.

    References
    ----------
    B. L. Bush, C. I. Bayly, T. A. Halgren, J. Comput. Chem. 20, 1495 (1999), on charges as sums
    over bonds;
    E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019), https://doi.org/10.1063/1.5090222,
    on smooth numbers of bonds and Gaussian charges

    Examples
    --------
    >>> from ase.build import molecule
    >>> water = [molecule("H2O")]
    >>> DampedCoulomb().compute(water).charges.round(2)
    array([-0.62, 0.31, 0.31])
    >>> DampedCoulomb().energies(water).round(1)
    array([-102.1])
    """

    _parameters = ("width", "transfer", "electronegativities")

    def __init__(
        self,
        charges: str = "bonds",
        *,
        width: float | Mapping[str, float] = 1.0,
        width_bounds: Any = (0.3, 3.0),
        transfer: float = 0.25,
        transfer_bounds: Any = "fixed",
        electronegativities: Mapping[str, float] | None = None,
        electronegativities_bounds: Any = "fixed",
    ) -> None:
        self.charges = charges
        self.width = width
        self.width_bounds = width_bounds
        self.transfer = transfer
        self.transfer_bounds = transfer_bounds
        self.electronegativities = electronegativities
        self.electronegativities_bounds = electronegativities_bounds

    def _needed(self) -> dict[str, tuple[str, _Array]]:
        found = super()._needed()
        found["covalent radius"] = "leave such molecules out", covalent_radii()
        if self.charges == "bonds" and self.electronegativities is None:
            cure = "give electronegativities={...}"
            found["electronegativity"] = cure, element_values(PAULING)
        return found

    def _reasons(self, structures: Structures) -> list[str]:
        if isinstance(self.transfer, Mapping) or not isinstance(self.charges, str):
            raise SettingError(
                f"charges={self.charges!r}, transfer={self.transfer!r}; charges is 'bonds' or the "
                "name of a property per atom, transfer one number"
            )
        if not isinstance(self.electronegativities, Mapping | None):
            raise SettingError(
                f"electronegativities={self.electronegativities!r}; give one for each element, as "
                "in {'H': 2.2, 'C': 2.55}"
            )
        reasons = super()._reasons(structures)
        if self.charges != "bonds":
            unknown = ~np.isfinite(self._given_charges(structures))
            for atom in np.flatnonzero(unknown)[::-1]:
                k, i = structures._locate(atom)
                reasons[k] = f"the charge {self.charges!r} of atom {i} is not a finite number"
        return reasons

    def _given_charges(self, structures: Structures) -> _Array:
        values = structures[self.charges]
        try:
            charges = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            charges = np.zeros(0)
        if charges.shape != structures.numbers.shape or self.charges not in structures.per_atom:
            raise PropertyError(
                f"charges={self.charges!r} is not one number per atom; give the name of such a "
                "property, or 'bonds'"
            )
        return charges

    def _evaluate(self, structures: Structures) -> Evaluation:
        elements, element = np.unique(structures.numbers, return_inverse=True)
        where = element, structures.positions, structures.offsets
        covalent = covalent_radii()[elements]
        squares = (element_values(self.width)[elements] * covalent) ** 2
        sums = squares[:, None] + squares
        bonded = self.charges == "bonds"
        share_of_atom = np.zeros(len(element))
        if bonded:
            chosen = PAULING if self.electronegativities is None else self.electronegativities
            pull = self.transfer * element_values(chosen)[elements]
            lengths = _BOND_LENGTH * (covalent[:, None] + covalent)
            if structures.charge is not None:
                share_of_atom = np.repeat(structures.charge / structures.sizes, structures.sizes)
            charges = share_of_atom.copy()
            pair_potentials_jit.bond_charges(*where, pull, lengths, charges)
        else:
            charges = self._given_charges(structures)
        energies, forces = np.zeros(len(structures)), np.zeros((len(element), 3))
        potentials = np.zeros(len(element))
        by_width = np.zeros((len(structures), len(elements)))
        by_pull = np.zeros_like(by_width)
        pair_potentials_jit.pair_coulomb(
            *where, charges, 1.0 / np.sqrt(sums), -squares[:, None] / sums,
            energies, forces, potentials, by_width,
        )  # fmt: skip
        if bonded:
            pair_potentials_jit.pair_bonds(*where, pull, lengths, potentials, forces, by_pull)
            by_pull *= pull
        slopes = {"width": by_width, "transfer": by_pull, "electronegativities": by_pull}
        columns = [
            slopes_of_parameter(getattr(self, name), elements, slopes[name])
            for name in self.free_parameters
        ]
        return _scaled(energies, forces, columns, charges)


class _ScreenedCores(_ElementPotential):
    """Repulsion of nuclei that electrons screen."""

    _weights = np.ones(1)
    _rates = np.ones(1)

    @abstractmethod
    def _lengths(self, elements: _Integers) -> tuple[_Array, _Array]:
        """Return screening lengths of pairs of elements, and the share of the first in each.

        The share is the slope of the length along the first element's parameter, both logarithmic.
        """

    def _evaluate(self, structures: Structures) -> Evaluation:
        elements, element = np.unique(structures.numbers, return_inverse=True)
        lengths, share = self._lengths(elements)
        energies, forces = np.zeros(len(structures)), np.zeros((len(element), 3))
        slopes = np.zeros((len(structures), len(elements)))
        pair_potentials_jit.pair_screened(
            element, structures.positions, structures.offsets,
            np.outer(elements, elements).astype(np.float64), 1.0 / lengths, -share,
            self._weights, self._rates, energies, forces, slopes,
        )  # fmt: skip
        columns = [
            slopes_of_parameter(getattr(self, name), elements, slopes)
            for name in self.free_parameters
        ]
        return _scaled(energies, forces, columns)


class YukawaCore(_ScreenedCores):
    r"""Repulsion of nuclei that is screened exponentially.

    .. math::
        E = k \sum_{A<B} Z_A Z_B\, \frac{\exp(-\beta_{AB} r_{AB})}{r_{AB}}, \qquad
        \frac{1}{\beta_{AB}} = d_A R_A + d_B R_B

    The decay lengths of two atoms add: each is the covalent radius R times the decay d.

    Parameters
    ----------
    decay : float or mapping, default 0.2
        Decay length of an element in units of its covalent radius: one number for all elements, or
        one per element as in ``{"H": 0.2, "C": 0.25}``.
    decay_bounds : pair of float or "fixed", default (0.05, 1.0)
        Range in which an optimizer may vary it.

    Raises
    ------
    SettingError
        If a parameter is not a positive number.

    Notes
    -----
    O(n_atoms^2) per molecule. The energy diverges at zero distance, as that of nuclei does.

    References
    ----------
    H. Yukawa, Proc. Phys.-Math. Soc. Japan 17, 48 (1935), https://doi.org/10.11429/ppmsj1919.17.0_48;
    C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019),
    https://doi.org/10.1021/acs.jctc.8b01176, on repulsion of this kind in tight binding

    Examples
    --------
    >>> from ase.build import molecule
    >>> YukawaCore().energies([molecule("N2"), molecule("CH4")]).round(1)
    array([269.4, 45. ])
    """

    _parameters = ("decay",)

    def __init__(
        self,
        *,
        decay: float | Mapping[str, float] = 0.2,
        decay_bounds: Any = (0.05, 1.0),
    ) -> None:
        self.decay = decay
        self.decay_bounds = decay_bounds

    def _needed(self) -> dict[str, tuple[str, _Array]]:
        found = super()._needed()
        found["covalent radius"] = "leave such molecules out", covalent_radii()
        return found

    def _lengths(self, elements: _Integers) -> tuple[_Array, _Array]:
        own = (element_values(self.decay) * covalent_radii())[elements]
        lengths = own[:, None] + own
        return lengths, own[:, None] / lengths


class ZBL(_ScreenedCores):
    r"""Universal repulsion of nuclei of Ziegler, Biersack and Littmark.

    .. math::
        E = k \sum_{A<B} \frac{Z_A Z_B}{r_{AB}}\, \phi\!\left(\frac{r_{AB}}{a_{AB}}\right), \qquad
        a_{AB} = \frac{s \cdot 0.46850}{Z_A^{0.23} + Z_B^{0.23}}

    with :math:`\phi(x) = 0.18175 e^{-3.1998 x} + 0.50986 e^{-0.94229 x} + 0.28022 e^{-0.4029 x}
    + 0.02817 e^{-0.20162 x}`.

    Parameters
    ----------
    screening : float, default 1.0
        Factor s of the screening length; 1 is the published potential.
    screening_bounds : pair of float or "fixed", default "fixed"
        Range in which an optimizer may vary it.

    Raises
    ------
    SettingError
        If the factor is not a positive number.

    Notes
    -----
    O(n_atoms^2) per molecule, for all elements, without parameters to fit. No cutoff: at twice the
    length of a bond there are a few kcal/mol left.

    References
    ----------
    J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, Pergamon,
    New York (1985)

    Examples
    --------
    >>> from ase.build import molecule
    >>> ZBL().energies([molecule("N2")]).round(1)
    array([287.5])
    """

    _parameters = ("screening",)
    _weights = _ZBL_WEIGHTS
    _rates = _ZBL_RATES

    def __init__(self, *, screening: float = 1.0, screening_bounds: Any = "fixed") -> None:
        self.screening = screening
        self.screening_bounds = screening_bounds

    def _reasons(self, structures: Structures) -> list[str]:
        if isinstance(self.screening, Mapping):
            raise SettingError(f"screening={self.screening!r}; give one number > 0")
        return super()._reasons(structures)

    def _lengths(self, elements: _Integers) -> tuple[_Array, _Array]:
        powers = elements.astype(np.float64) ** _ZBL_POWER
        lengths = self.screening * _ZBL_LENGTH / (powers[:, None] + powers)
        return lengths, np.full_like(lengths, 0.5)


def _scaled(
    energies: _Array, forces: _Array, columns: list[_Array], charges: _Array | None = None
) -> Evaluation:
    """Return what was computed in squared elementary charges per angstrom in kcal/mol."""
    slopes = np.hstack(columns) if columns else np.zeros((len(energies), 0))
    return Evaluation(COULOMB * energies, COULOMB * forces, COULOMB * slopes, charges)
