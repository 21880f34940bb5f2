"""Kernels that are recommended as they are, by short names."""

from __future__ import annotations

from collections.abc import Callable

from kernchem.kernels import AtomSum, Gaussian
from kernchem.models.terms import Term, Terms, TermSum

__all__ = ["RECIPES", "composite"]


def composite() -> TermSum:
    r"""Return a sum of kernels that learns energies from fewer molecules than each of them.

    .. math:: k = 10\, k_P + \tfrac{1}{2} k_F + 30\, k_S + \tfrac{1}{2} k_T

    - P: :class:`~kernchem.descriptors.FCHL19` with a cutoff of 4 angstrom, a Gaussian summed over
      all pairs of heavy atoms, whatever their elements;
    - F: the same features, pairs of the same element, hydrogen included;
    - S: global :class:`~kernchem.descriptors.SLATM`, one wide, nearly linear Gaussian;
    - T: :class:`~kernchem.descriptors.Torsions`, a wide Gaussian too: chains of four atoms tell
      conjugation and strain, which pairs and angles leave open.

    Each term is divided by its mean diagonal over the training set. :class:`kernchem.KRR` starts
    from these weights and chooses its own, with the widths, by leave-one-out errors. Its short name
    is "composite": ``KRR("composite")``.

    Returns
    -------
    TermSum
        Terms with fresh descriptors and kernels; their weights and widths are where a search
        starts.

    Examples
    --------
    >>> from kernchem.models import composite
    >>> [type(term.descriptor).__name__ for term in composite().terms]
    ['FCHL19', 'FCHL19', 'SLATM', 'Torsions']
    """
    from kernchem.descriptors import FCHL19, SLATM, Torsions

    near = FCHL19(r_cut=4.0, a_cut=4.0, n_radial=12, n_radial_3=10, three_body_weight=30.0)
    return TermSum(
        [
            Term(near, AtomSum(Gaussian(), coupling="heavy"), weight=10.0, width=2.4),
            Term(near, AtomSum(Gaussian()), weight=0.5, width=2.0),
            Term(SLATM(), Gaussian(), weight=30.0, width=16.0),
            Term(Torsions(), Gaussian(), weight=0.5, width=16.0),
        ]
    )


#: Short name to terms.
RECIPES: dict[str, Callable[[], Terms]] = {"composite": composite}
