"""Energy units.

kernchem computes in angstrom, kcal/mol and elementary charges; ASE's eV are converted at the
border with ASE's own constants.
"""

from kernchem.errors import SettingError

__all__ = ["ENERGY_UNITS", "energy_factor"]

ENERGY_UNITS = ("kcal/mol", "kJ/mol", "eV", "meV", "Ha")


def energy_factor(source: str, target: str) -> float:
    """Return the factor that turns an energy in ``source`` into one in ``target``.

    Parameters
    ----------
    source, target : str
        Each one of :data:`ENERGY_UNITS`.

    Returns
    -------
    float
        ``energy_in_target = factor * energy_in_source``.

    Raises
    ------
    SettingError
        If a unit is not known.

    Examples
    --------
    >>> round(energy_factor("eV", "kcal/mol"), 4)
    23.0605
    """
    from ase import units

    in_ev = {
        "kcal/mol": units.kcal / units.mol,
        "kJ/mol": units.kJ / units.mol,
        "eV": 1.0,
        "meV": 1e-3,
        "Ha": units.Hartree,
    }
    for unit in (source, target):
        if unit not in in_ev:
            raise SettingError(
                f"unit={unit!r} is not an energy unit; use one of {', '.join(ENERGY_UNITS)}"
            )
    return float(in_ev[source] / in_ev[target])
