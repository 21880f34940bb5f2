"""Parameters that are one number or one number per element, with scikit-learn's kernel protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.gaussian_process.kernels import Hyperparameter

from kernchem._validation import is_positive
from kernchem.elements import MAX_ATOMIC_NUMBER, atomic_number
from kernchem.errors import SettingError
from kernchem.kernels.features import checked_bounds

__all__ = ["PAULING", "Parametrised", "element_values", "slopes_of_parameter", "sorted_symbols"]

_Array = npt.NDArray[np.float64]

#: Electronegativities on Pauling's scale: A. L. Allred, J. Inorg. Nucl. Chem. 17, 215 (1961),
#: https://doi.org/10.1016/0022-1902(61)80142-5, and for the elements that he does not list
#: L. Pauling, The Nature of the Chemical Bond, 3rd ed., Cornell University Press (1960).
PAULING: Mapping[str, float] = {
    "H": 2.20, "Li": 0.98, "Be": 1.57, "B": 2.04, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98,
    "Na": 0.93, "Mg": 1.31, "Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16,
    "K": 0.82, "Ca": 1.00, "Sc": 1.36, "Ti": 1.54, "V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83,
    "Co": 1.88, "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81, "Ge": 2.01, "As": 2.18, "Se": 2.55,
    "Br": 2.96, "Rb": 0.82, "Sr": 0.95, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96, "Sb": 2.05,
    "Te": 2.1, "I": 2.66,
}  # fmt: skip


class Parametrised(BaseEstimator):
    """Base of objects with positive parameters that an optimizer may vary.

    Parameters and their bounds are arguments of the constructor: beside ``name`` there is
    ``name_bounds``, a pair of numbers or "fixed". A parameter is one number, a mapping from the
    symbols of elements to numbers, or None if it is not used.
    """

    #: Names of the parameters, in the order of theta.
    _parameters: tuple[str, ...] = ()

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """Name, bounds and number of values of each parameter, in the order of theta."""
        found = []
        for name in self._parameters:
            value = getattr(self, name)
            if value is None:
                continue
            check_parameter(name, value)
            count = len(value) if isinstance(value, Mapping) else 1
            bounds = checked_bounds(f"{name}_bounds", getattr(self, f"{name}_bounds"), count)
            found.append(Hyperparameter(name, "numeric", bounds, count))
        return found

    @property
    def free_parameters(self) -> list[str]:
        """Names of the parameters whose bounds are not "fixed"."""
        return [
            hyperparameter.name
            for hyperparameter in self.hyperparameters
            if not hyperparameter.fixed
        ]

    @property
    def theta(self) -> _Array:
        """Logarithms of the parameters that are not "fixed", array (p,).

        Those of elements stand in the order of atomic numbers.
        """
        logs: list[float] = []
        for name in self.free_parameters:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                logs.extend(value[symbol] for symbol in sorted_symbols(value))
            else:
                logs.append(value)
        return np.log(np.array(logs, dtype=np.float64))

    @property
    def bounds(self) -> _Array:
        """Bounds of theta, array (p, 2)."""
        pairs = [h.bounds for h in self.hyperparameters if not h.fixed]
        return np.log(np.vstack(pairs)) if pairs else np.zeros((0, 2))

    def clone_with_theta(self, theta: npt.ArrayLike) -> Self:
        """Return a copy with other parameters.

        Parameters
        ----------
        theta : array (p,)
            Logarithms, in the order of :attr:`theta`.

        Returns
        -------
        PairPotential
            Of the same class and settings.

        Raises
        ------
        SettingError
            If there are more or fewer numbers than parameters, or they are not finite.
        """
        logs = np.asarray(theta, dtype=np.float64)
        if logs.shape != self.theta.shape or not np.isfinite(logs).all():
            raise SettingError(
                f"theta={theta!r}; give {len(self.theta)} finite numbers, one per free parameter"
            )
        values = iter(np.exp(logs).tolist())
        changed: dict[str, Any] = {}
        for name in self.free_parameters:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                changed[name] = {symbol: next(values) for symbol in sorted_symbols(value)}
            else:
                changed[name] = next(values)
        copy: Self = clone(self).set_params(**changed)
        return copy


def check_parameter(name: str, value: Any) -> None:
    """Raise unless a parameter is a positive number, or such numbers by symbols of elements."""
    numbers = list(value.values()) if isinstance(value, Mapping) else [value]
    if not numbers or not all(is_positive(number) for number in numbers):
        raise SettingError(
            f"{name}={value!r}; give a finite number > 0, or one per element as in "
            "{'H': 1.0, 'C': 1.2}"
        )
    if isinstance(value, Mapping):
        for symbol in value:
            atomic_number(symbol)


def sorted_symbols(value: Mapping[str, float]) -> list[str]:
    """Return the symbols of a mapping by atomic number."""
    return sorted(value, key=atomic_number)


def element_values(value: float | Mapping[str, float]) -> _Array:
    """Return a parameter by atomic number, array (119,); NaN where it has no value."""
    table = np.full(MAX_ATOMIC_NUMBER + 1, np.nan)
    if isinstance(value, Mapping):
        for symbol, number in value.items():
            table[atomic_number(symbol)] = number
    else:
        table[1:] = value
    return table


def slopes_of_parameter(
    value: float | Mapping[str, float], elements: npt.NDArray[np.int64], slopes: _Array
) -> _Array:
    """Return slopes along the logarithms of a parameter, from those along its values of elements.

    Parameters
    ----------
    value : float or mapping
        The parameter.
    elements : array (n_elements,)
        Atomic numbers, ascending.
    slopes : array (n, n_elements)
        Slopes along the logarithm of each element's value.

    Returns
    -------
    array (n, k)
        One column for a number, one per element of a mapping.
    """
    if not isinstance(value, Mapping):
        return np.asarray(slopes.sum(axis=1, keepdims=True))
    out = np.zeros((len(slopes), len(value)))
    for k, symbol in enumerate(sorted_symbols(value)):
        out[:, k] = slopes[:, elements == atomic_number(symbol)].sum(axis=1)
    return out
