"""Which atoms are near which, on plain arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["find_contact", "find_flat_cell"]


def find_contact(
    positions: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    threshold: float,
    cells: npt.NDArray[np.float64] | None = None,
    pbc: npt.NDArray[np.bool_] | None = None,
) -> tuple[int, int, int] | None:
    """Return the first pair of atoms of one molecule that are nearer than ``threshold``.

    Parameters
    ----------
    positions : array (n_atoms, 3)
        Angstrom, molecule after molecule.
    offsets : array (n_molecules + 1,)
        First atom of each molecule.
    threshold : float
        Angstrom.
    cells : array (n_molecules, 3, 3), optional
        Cell vectors as rows, angstrom.
    pbc : array (n_molecules, 3), optional
        Which cell vectors are periodic.

    Returns
    -------
    (molecule, i, j) or None
        Indices of the molecule and of two of its atoms, ``i < j``. Cost O(sum of squared sizes).
    """
    from kernchem import neighbors_jit

    found: Any
    if cells is None or pbc is None or not pbc.any():
        found = neighbors_jit.first_contact(positions, offsets, threshold)
    else:
        complete = _completed_cells(cells, pbc)
        found = neighbors_jit.first_contact_periodic(
            positions, offsets, complete, np.linalg.inv(complete), pbc, threshold
        )
    return None if found[0] < 0 else (int(found[0]), int(found[1]), int(found[2]))


def find_flat_cell(
    cells: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_], threshold: float
) -> int | None:
    """Return the first structure whose periodic cell vectors do not span their axes.

    Parameters
    ----------
    cells : array (n, 3, 3)
        Cell vectors as rows, angstrom.
    pbc : array (n, 3)
        Which cell vectors are periodic.
    threshold : float
        Angstrom. A cell is flat if neighbouring planes of its lattice are nearer than this, so
        that an atom of any other cell is at least this far from its own images.

    Returns
    -------
    int or None
        Index of the structure. Cost O(n).
    """
    if not pbc.any():
        return None
    complete = _completed_cells(cells, pbc)
    flat = (pbc & ~cells.any(axis=2)).any(axis=1)
    with np.errstate(all="ignore"):
        for axis in range(3):
            normal = np.cross(complete[:, axis - 2], complete[:, axis - 1])
            volume = np.abs(np.einsum("ij,ij->i", complete[:, axis], normal))
            height = volume / np.linalg.norm(normal, axis=1)
            flat |= ~(height >= threshold)
    return int(np.argmax(flat)) if flat.any() else None


def _completed_cells(
    cells: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return cells whose vectors along axes that are not periodic are unit complements."""
    from ase.geometry import complete_cell

    complete = np.where(pbc[:, :, None], cells, 0.0)
    with np.errstate(all="ignore"):
        for k in np.flatnonzero(~pbc.all(axis=1)):
            complete[k] = complete_cell(complete[k])
    return complete
