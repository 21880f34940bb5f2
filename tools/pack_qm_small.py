"""Pack the text output of ``make_qm_small.py`` into the file that kernchem ships.

Numbers are stored as whole numbers of their last decimal, under the name ``column.decimals``:
dividing by the power of ten gives the float64 nearest to the text, to the last bit, at a third of
the size of compressed floats. Molecules are stored in the shuffled order in which they are loaded.

Usage: python tools/pack_qm_small.py qm_small.xyz meta.json qm_small.npz
"""

import argparse
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

#: Decimals of each column in the text.
DECIMALS = {
    "dft_energy": 6,
    "atomization_energy": 6,
    "gfn2_energy": 6,
    "gfn2_atomization_energy": 6,
    "homo": 5,
    "lumo": 5,
    "gap": 5,
    "mu": 5,
    "dipole_dft": 5,
    "dipole_gfn2": 5,
    "r2": 4,
}
ATOM_COLUMNS = "Properties=species:S:1:pos:R:3:q_mulliken:R:1:q_gfn2:R:1"
SEED = 0


def scaled(words: list[str], decimals: int) -> list[int]:
    """Return numbers in text as whole multiples of ``10**-decimals``."""
    numbers = [Decimal(word).scaleb(decimals) for word in words]
    if any(number != int(number) for number in numbers):
        raise SystemExit(f"{words} have more than {decimals} decimals")
    return [int(number) for number in numbers]


def read_frames(text: str) -> list[dict[str, Any]]:
    """Split the extended XYZ text into molecules, without going through floating point."""
    lines = text.splitlines()
    frames, start = [], 0
    while start < len(lines):
        size, comment = int(lines[start]), lines[start + 1]
        rows = [line.split() for line in lines[start + 2 : start + 2 + size]]
        if not comment.startswith(ATOM_COLUMNS) or any(len(row) != 6 for row in rows):
            raise SystemExit(f"line {start + 2}: not a molecule of this dataset")
        fields = {
            key: value.strip('"') for key, value in re.findall(r'(\w+)=("[^"]*"|\S+)', comment)
        }
        frame: dict[str, Any] = {
            name: scaled(fields[name].split(), decimals) for name, decimals in DECIMALS.items()
        }
        frame |= {name: int(fields[name]) for name in ("id", "heavy")}
        frame |= {name: fields[name] for name in ("smiles", "scf")}
        frame["numbers"] = [atomic_numbers[row[0]] for row in rows]
        frame["positions"] = [scaled(row[1:4], 8) for row in rows]
        frame["q_mulliken"] = [scaled(row[4:5], 5)[0] for row in rows]
        frame["q_gfn2"] = [scaled(row[5:6], 5)[0] for row in rows]
        frames.append(frame)
        start += 2 + size
    return frames


def smallest(values: Any) -> np.ndarray:
    """Return whole numbers in the narrowest signed type that holds them."""
    array = np.array(values, dtype=np.int64)
    return array.astype(np.min_scalar_type(-int(np.abs(array).max(initial=0)) - 1))


def pack(xyz: Path, meta: Path, out: Path) -> None:
    """Write the packed file.

    Parameters
    ----------
    xyz, meta : Path
        Output of ``make_qm_small.py``.
    out : Path
        The ``.npz`` file to write.
    """
    frames = sorted(read_frames(xyz.read_text()), key=lambda frame: frame["id"])
    frames = [frames[k] for k in np.random.default_rng(SEED).permutation(len(frames))]
    columns: dict[str, np.ndarray] = {
        "numbers": smallest([z for frame in frames for z in frame["numbers"]]),
        "sizes": smallest([len(frame["numbers"]) for frame in frames]),
        "positions.8": smallest([row for frame in frames for row in frame["positions"]]),
        "meta": np.array(json.dumps(json.loads(meta.read_text()), sort_keys=True)),
    }
    for name in ("q_mulliken", "q_gfn2"):
        columns[f"{name}.5"] = smallest([q for frame in frames for q in frame[name]])
    for name, decimals in DECIMALS.items():
        values = smallest([frame[name] for frame in frames])
        columns[f"{name}.{decimals}"] = values[:, 0] if values.shape[1] == 1 else values
    for name in ("id", "heavy"):
        columns[name] = smallest([frame[name] for frame in frames])
    for name in ("smiles", "scf"):
        columns[name] = np.array([frame[name] for frame in frames])
    np.savez_compressed(out, **columns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("xyz", type=Path)
    parser.add_argument("meta", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    pack(arguments.xyz, arguments.meta, arguments.out)
