#!/usr/bin/env python3
"""Make a small QM9-style set of organic molecules with our own DFT labels.

Pipeline, one molecule at a time, in a fixed order:

    enumerated graph -> ETKDG + MMFF94 conformer -> GFN2-xTB minimum (tblite)
    -> connectivity check -> RKS single point with density fitting (PySCF)

The output folder receives

    molecules.smi    index, heavy atoms, SMILES: the fixed order of work
    meta.json        level of theory, units, versions, atomic reference energies
    molecules.xyz    extended XYZ, one frame per labelled molecule (appended)
    failures.csv     index, SMILES, stage, reason
    timing.csv       index, heavy atoms, atoms, AOs, cpu seconds per stage

The run is resumable: call it again with the same folder and it goes on after
the molecules that are already labelled or known to fail.  It stops by itself
when --max-seconds of wall time are spent.  Nothing is random but two seeded
generators (order of work, conformer embedding), so that the same versions of
the libraries give the same file.

Needs: numpy, rdkit, ase, tblite, pyscf.
Set OMP_NUM_THREADS=1 and start one process per --shard for more cores.
"""

import argparse
import csv
import io
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

RDLogger.DisableLog("rdApp.*")

SEED = 20261121
HARTREE_EV = 27.211386245988
BOHR_ANG = 0.529177210903
AU_DEBYE = 2.541746473
#: orders of the bonds between atoms i < j, and a graph: its elements and bonds
Bonds = dict[tuple[int, int], int]
Graph = tuple[tuple[int, ...], Bonds]

VALENCE = {6: 4, 7: 3, 8: 2, 9: 1}
#: unpaired electrons of the free atoms
ATOM_SPIN = {"H": 1, "C": 2, "N": 3, "O": 2, "F": 1}

# --------------------------------------------------------------------------
# 1. enumeration
# --------------------------------------------------------------------------

#: motifs that are left out: too reactive or too strained to be of use
UNWANTED = [
    Chem.MolFromSmarts(s)
    for s in (
        "[#8]~[#8]",  # peroxides
        "[#9]~[#7,#8,#9]",  # N-F, O-F
        "[#7,#8;!a]~[#7,#8]~[#7,#8]",  # open chains of three heteroatoms
        "[CX4]([OH])[OH,NH2,NH]",  # gem-diols, hemiaminals
        "[CX4]([NH2])[NH2]",
        "[CX4]([OH,NH2])F",
        "[*]=[*]=[*]=[*]",  # long cumulenes
        "[R]=[R]=[R]",
        "[R]#[R]",  # allene or alkyne inside a ring
        "C#C[OH,NH2]",  # ynols, ynamines
        "[#7,#8]1[#6]=[#6]1",  # oxirene, 1H-azirine
        "[#7,#8]1~[#7,#8]~*1",  # three-rings with two heteroatoms
        "[#7,#8]1*=*1",
        "[#7]1=**1",  # unsaturated hetero three-rings
        "*=[#6,#7]1~[#7,#8]~*1",  # lactones and lactams of size three
        "[NX3][OH]",
        "[OH][CX3;!a]=[CX3;!$(C-C=[O,N]);!$(C-C#N)]",
        "*1=**=*1",
        "[a;r4]",  # cyclobutadienes and their like
        "*12**1*2",
        "*12**1**2",  # bicyclo[1.1.0], bicyclo[2.1.0]
        "[R2]=,#*",  # bridgehead double bonds
    )
]


def wanted(mol: Any) -> bool:
    """Return whether a molecule belongs in the set."""
    z = [a.GetAtomicNum() for a in mol.GetAtoms()]
    n, carbons = len(z), z.count(6)
    if (n > 1 and carbons == 0) or (n >= 4 and 2 * carbons < n):
        return False
    if z.count(9) > 3 or mol.GetRingInfo().NumRings() > 2:
        return False
    for bond in mol.GetBonds():  # three-ring unsaturation on both sides
        if bond.GetIsAromatic() or bond.GetBondTypeAsDouble() <= 1 or bond.IsInRingSize(3):
            continue
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        if all(mol.GetAtomWithIdx(i).IsInRingSize(3) for i in ends):
            return False
    return not any(mol.HasSubstructMatch(q) for q in UNWANTED)


def build(z: tuple[int, ...], bonds: Bonds) -> tuple[Any, Any]:
    """Return RDKit molecule and canonical SMILES from elements and bond orders."""
    m = Chem.RWMol()
    for zi in z:
        m.AddAtom(Chem.Atom(zi))
    kinds = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    for (i, j), order in bonds.items():
        m.AddBond(i, j, kinds[order])
    try:
        Chem.SanitizeMol(m)
    except ValueError:  # RDKit's own classes derive from it
        return None, None
    return m, Chem.MolToSmiles(m)


def free_valence(z: tuple[int, ...], bonds: Bonds) -> list[int]:
    """Return how many bonds each atom can still take."""
    free = [VALENCE[zi] for zi in z]
    for (i, j), order in bonds.items():
        free[i] -= order
        free[j] -= order
    return free


def bad_pair(a: int, b: int) -> bool:
    """Return whether two neighbours are a pair that no later step can mend."""
    return (a == 8 and b == 8) or (9 in (a, b) and 6 not in (a, b))


def grow_trees(trees: dict[str, Graph]) -> dict[str, Graph]:
    """Return all trees of single bonds that have one atom more."""
    grown: dict[str, Graph] = {}
    for z, bonds in trees.values():
        free = free_valence(z, bonds)
        for i, znew in itertools.product(range(len(z)), VALENCE):
            if free[i] < 1 or bad_pair(z[i], znew):
                continue
            cand = ((*z, znew), {**bonds, (i, len(z)): 1})
            if cand[0].count(9) > 3:
                continue
            mol, smi = build(*cand)
            if mol is not None:
                grown.setdefault(smi, cand)
    return grown


def raised(z: tuple[int, ...], bonds: Bonds) -> Iterator[Graph]:
    """Yield the graphs that have one bond order more, a closed ring included."""
    n = len(z)
    if n >= 4 and 2 * z.count(6) < n:
        return
    free = free_valence(z, bonds)
    for i, j in itertools.combinations(range(n), 2):
        if free[i] < 1 or free[j] < 1:
            continue
        order = bonds.get((i, j), 0)
        if order >= 3 or (order == 0 and (bad_pair(z[i], z[j]) or len(bonds) - n + 1 >= 2)):
            continue
        yield z, {**bonds, (i, j): order + 1}


def enumerate_graphs(n_max: int) -> dict[int, list[str]]:
    """Return all wanted SMILES by number of heavy atoms, up to n_max.

    Trees of single bonds grow one atom at a time; raising one bond order (or
    closing one ring) at a time then reaches every graph of that size.
    """
    trees: dict[str, Graph] = {Chem.MolToSmiles(build((z,), {})[0]): ((z,), {}) for z in VALENCE}
    found = {}
    for n in range(1, n_max + 1):
        if n > 1:
            trees = grow_trees(trees)
        level, front = dict(trees), list(trees.values())
        while front:
            nxt = []
            for cand in itertools.chain.from_iterable(itertools.starmap(raised, front)):
                mol, smi = build(*cand)
                if mol is not None and smi not in level:
                    level[smi] = cand
                    nxt.append(cand)
            front = nxt
        found[n] = sorted(s for s in level if wanted(Chem.MolFromSmiles(s)))
    return found


def substituted(smiles: list[str]) -> list[str]:
    """Return wanted molecules with one H of the given ones replaced by C, N, O, F."""
    out = set()
    for s in smiles:
        mol = Chem.MolFromSmiles(s)
        Chem.Kekulize(mol, clearAromaticFlags=True)
        for atom in mol.GetAtoms():
            if atom.GetTotalNumHs() < 1:
                continue
            for znew in VALENCE:
                if bad_pair(atom.GetAtomicNum(), znew):
                    continue
                m = Chem.RWMol(mol)
                m.GetAtomWithIdx(atom.GetIdx()).SetNumExplicitHs(0)
                m.GetAtomWithIdx(atom.GetIdx()).SetNoImplicit(False)
                m.AddBond(atom.GetIdx(), m.AddAtom(Chem.Atom(znew)), Chem.BondType.SINGLE)
                try:
                    Chem.SanitizeMol(m)
                except ValueError:
                    continue
                if wanted(m):
                    out.add(Chem.MolToSmiles(m))
    return sorted(out)


def work_order(shares: dict[int, float]) -> list[tuple[int, str]]:
    """Return all of 1-3 heavy atoms, then a seeded mix of the larger sizes.

    shares gives, for 4, 5, 6 and 7 heavy atoms, the part each has in any long
    enough stretch of the list, so that a run may stop anywhere.
    """
    found = enumerate_graphs(6)
    if shares.get(7, 0) > 0:
        found[7] = substituted(found[6])
    rng = random.Random(SEED)
    order = [(n, s) for n in (1, 2, 3) for s in found[n]]
    pools = {n: rng.sample(found[n], len(found[n])) for n in sorted(shares) if shares[n] > 0}
    while any(pools.values()):
        sizes = [n for n in pools if pools[n]]
        n = rng.choices(sizes, [shares[k] for k in sizes])[0]
        order.append((n, pools[n].pop()))
    return order


# --------------------------------------------------------------------------
# 2. geometry and labels
# --------------------------------------------------------------------------


class FailureError(Exception):
    """A molecule that cannot be labelled: the stage and the reason."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.reason = stage, reason


def conformer(smiles: str, n_conf: int = 5) -> tuple[Any, Any]:
    """Return the lowest MMFF94 conformer of a few, as (RDKit molecule, ASE atoms)."""
    from ase import Atoms

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    par = AllChem.ETKDGv3()
    par.randomSeed = SEED
    ids = list(AllChem.EmbedMultipleConfs(mol, n_conf, par))
    if not ids:
        par.useRandomCoords = True
        ids = list(AllChem.EmbedMultipleConfs(mol, n_conf, par))
    if not ids:
        raise FailureError("embed", "ETKDG gave no conformer")
    best = ids[0]
    if AllChem.MMFFHasAllMoleculeParams(mol):
        res = AllChem.MMFFOptimizeMoleculeConfs(mol, maxIters=2000)
        best = min(ids, key=lambda k: (round(res[k][1], 6), k))
    pos = mol.GetConformer(best).GetPositions()
    return mol, Atoms([a.GetSymbol() for a in mol.GetAtoms()], pos)


def relax(atoms: Any, fmax: float, steps: int) -> Any:
    """Move atoms to the GFN2-xTB minimum; return them with tight single-point results."""
    from ase.optimize import BFGS
    from tblite.ase import TBLite

    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    try:
        if not BFGS(atoms, logfile=None).run(fmax=fmax, steps=steps):
            raise FailureError("relax", f"not below {fmax} eV/A in {steps} steps")
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.1)
        atoms.get_potential_energy()
    except FailureError:
        raise
    except Exception as err:  # tblite's own, of SCF or input trouble
        raise FailureError("relax", repr(err)[:120]) from err
    return atoms


def same_graph(mol: Any, atoms: Any, slack: float = 1.30) -> bool:
    """Return whether distances still say what the SMILES says."""
    from ase.data import covalent_radii

    d = atoms.get_all_distances()
    r = covalent_radii[atoms.numbers]
    near = d < slack * (r[:, None] + r[None, :])
    np.fill_diagonal(near, False)
    return np.array_equal(near, Chem.GetAdjacencyMatrix(mol).astype(bool))


class DFT:
    """RKS/UKS with density fitting: coarse grid first, then the real one."""

    def __init__(self, xc: str, basis: str, grid: int, max_memory: int) -> None:
        from pyscf import lib

        lib.num_threads(1)
        self.xc, self.basis, self.grid = xc, basis, grid
        self.max_memory = max_memory

    def _mf(self, symbols: list[str], positions: Any, spin: int) -> tuple[Any, Any]:
        from pyscf import dft, gto

        mol = gto.M(
            atom=list(zip(symbols, positions, strict=True)),
            unit="Angstrom",
            basis=self.basis,
            spin=spin,
            verbose=0,
            max_memory=self.max_memory,
        )
        mf = (dft.UKS if spin else dft.RKS)(mol, xc=self.xc).density_fit()
        return mol, mf

    def atom(self, symbol: str) -> float:
        """Return the energy of a free atom in hartree."""
        _, mf = self._mf([symbol], [(0.0, 0.0, 0.0)], ATOM_SPIN[symbol])
        mf.grids.level = self.grid
        mf.conv_tol = 1e-8
        energy = mf.kernel()
        if not mf.converged:
            energy = mf.newton().kernel()
        return float(energy)

    def scf(self, symbols: list[str], positions: Any) -> tuple[Any, Any, str]:
        """Return the converged mean field on the final grid, or FailureError."""
        from pyscf import dft

        mol, mf = self._mf(symbols, positions, 0)
        mf.grids.level, mf.conv_tol = 0, 1e-4
        mf.kernel()
        dm = mf.make_rdm1()
        mf.grids = dft.gen_grid.Grids(mol)
        mf.grids.level, mf.conv_tol = self.grid, 1e-8
        mf.kernel(dm0=dm)
        tries = "plain"
        if not mf.converged:
            tries = "level-shift"
            mf.level_shift, mf.max_cycle = 0.3, 150
            mf.kernel()
            if mf.converged:  # polish without the shift
                mf.level_shift = 0.0
                mf.kernel(dm0=mf.make_rdm1())
        if not mf.converged:
            raise FailureError("scf", "RKS did not converge")
        return mol, mf, tries

    def labels(self, symbols: list[str], positions: Any) -> dict[str, Any]:
        """Return energies, orbital energies, multipoles and charges in atomic units."""
        mol, mf, tries = self.scf(symbols, positions)
        dm = mf.make_rdm1()
        occ = mf.mo_occ > 0
        homo, lumo = mf.mo_energy[occ].max(), mf.mo_energy[~occ].min()
        charges = mf.mulliken_pop(dm=dm, verbose=0)[1]
        z = mol.atom_charges()
        centre = z @ mol.atom_coords() / z.sum()
        with mol.with_common_origin(centre):
            r2 = float(np.einsum("ij,ji", mol.intor("int1e_r2"), dm))
        return {
            "energy": float(mf.e_tot),
            "homo": float(homo),
            "lumo": float(lumo),
            "r2": r2,
            "nao": int(mol.nao),
            "dipole": np.asarray(mf.dip_moment(unit="AU", verbose=0)),
            "charges": np.asarray(charges),
            "scf": tries,
        }


def xtb_atom(symbol: str) -> float:
    """Return the GFN2-xTB energy of a free atom in hartree."""
    from ase import Atoms
    from tblite.ase import TBLite

    a = Atoms([symbol])
    a.calc = TBLite(
        method="GFN2-xTB", verbosity=0, accuracy=0.1, multiplicity=ATOM_SPIN[symbol] + 1
    )
    return float(a.get_potential_energy() / HARTREE_EV)


def frame(
    index: int, smiles: str, heavy: int, atoms: Any, lab: dict[str, Any], ref: dict[str, Any]
) -> str:
    """Return one extended-XYZ frame (energies in eV, dipole in Debye, r2 in A^2)."""
    sym = atoms.get_chemical_symbols()
    e_xtb = atoms.get_potential_energy()
    ae = lab["energy"] * HARTREE_EV - sum(ref["dft"][s] for s in sym) * HARTREE_EV
    ae_xtb = e_xtb - sum(ref["gfn2"][s] for s in sym) * HARTREE_EV
    dip = lab["dipole"] * AU_DEBYE
    dip_xtb = atoms.get_dipole_moment() / BOHR_ANG * AU_DEBYE
    q_xtb = atoms.get_charges()
    head = " ".join(
        [
            "Properties=species:S:1:pos:R:3:q_mulliken:R:1:q_gfn2:R:1",
            f"id={index}",
            f'smiles="{smiles}"',
            f"heavy={heavy}",
            f"dft_energy={lab['energy'] * HARTREE_EV:.6f}",
            f"atomization_energy={ae:.6f}",
            f"homo={lab['homo'] * HARTREE_EV:.5f}",
            f"lumo={lab['lumo'] * HARTREE_EV:.5f}",
            f"gap={(lab['lumo'] - lab['homo']) * HARTREE_EV:.5f}",
            f"mu={np.linalg.norm(dip):.5f}",
            'dipole_dft="{:.5f} {:.5f} {:.5f}"'.format(*dip),
            f"r2={lab['r2'] * BOHR_ANG**2:.4f}",
            f"gfn2_energy={e_xtb:.6f}",
            f"gfn2_atomization_energy={ae_xtb:.6f}",
            'dipole_gfn2="{:.5f} {:.5f} {:.5f}"'.format(*dip_xtb),
            f"scf={lab['scf']}",
            'pbc="F F F"',
        ]
    )
    rows = [
        f"{s:<2} {x:14.8f} {y:14.8f} {z:14.8f} {q:9.5f} {qx:9.5f}"
        for s, (x, y, z), q, qx in zip(sym, atoms.positions, lab["charges"], q_xtb, strict=True)
    ]
    return "\n".join([str(len(sym)), head, *rows]) + "\n"


# --------------------------------------------------------------------------
# 3. the run
# --------------------------------------------------------------------------


def repair(path: Path) -> set[int]:
    """Drop a last frame that was cut short; return the ids already there."""
    if not path.exists():
        return set()
    ids, good = set(), 0
    with path.open("rb") as fh:
        while True:
            line = fh.readline()
            if not line:
                break
            try:
                n = int(line)
                head = fh.readline()
                rows = [fh.readline() for _ in range(n)]
            except ValueError:
                break
            if len(rows) < n or not rows[-1].endswith(b"\n"):
                break
            ids.add(int(head.split(b"id=")[1].split()[0]))
            good = fh.tell()
    if good < path.stat().st_size:
        with path.open("rb+") as fh:
            fh.truncate(good)
    return ids


def append(path: Path, text: str) -> None:
    """Append text to a file and make sure that it is on the disk."""
    with path.open("a") as fh:
        fh.write(text)
        fh.flush()
        os.fsync(fh.fileno())


def csv_line(*items: Any) -> str:
    """Return one line of a CSV file."""
    buf = io.StringIO()
    csv.writer(buf, lineterminator="\n").writerow(items)
    return buf.getvalue()


def versions() -> dict[str, str]:
    """Return the versions on which the labels depend."""
    from importlib.metadata import version

    import ase
    import pyscf
    import rdkit

    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "rdkit": rdkit.__version__,
        "ase": ase.__version__,
        "pyscf": pyscf.__version__,
        "tblite": version("tblite"),
    }


def read_work(out: Path, shares: str, tag: str) -> list[tuple[int, int, str]]:
    """Return index, heavy atoms and SMILES in the order of work; make it on the first call."""
    smi_file = out / "molecules.smi"
    if not smi_file.exists():
        parts = (part.split(":") for part in shares.split(","))
        order = work_order({int(size): float(part) for size, part in parts})
        tmp = out / f"molecules.smi{tag}.tmp"
        tmp.write_text("".join(f"{i} {n} {s}\n" for i, (n, s) in enumerate(order)))
        tmp.replace(smi_file)
    work = [line.split() for line in smi_file.read_text().splitlines()]
    return [(int(index), int(heavy), smiles) for index, heavy, smiles in work]


def reference_energies(meta_file: Path, dft: DFT, level: dict[str, Any]) -> dict[str, Any]:
    """Return the energies of free atoms; compute and store them on the first call."""
    if meta_file.exists():
        meta = json.loads(meta_file.read_text())
        if meta["level"] != level:
            sys.exit(f"{meta_file} was made with {meta['level']}, not {level}")
    else:
        meta = {
            "level": level,
            "seed": SEED,
            "versions": versions(),
            "units": {
                "energies": "eV",
                "positions": "Angstrom",
                "dipole": "Debye",
                "r2": "Angstrom^2",
                "charges": "e",
                "reference_energies": "Hartree",
            },
            "conventions": "atomization_energy = E(molecule) - sum E(atoms), "
            "negative for bound; no zero-point term",
            "reference_energies": {
                "dft": {s: dft.atom(s) for s in ATOM_SPIN},
                "gfn2": {s: xtb_atom(s) for s in ATOM_SPIN},
            },
        }
        meta_file.write_text(json.dumps(meta, indent=1))
    return dict(meta["reference_energies"])


def label(
    smiles: str, dft: DFT, fmax: float, steps: int
) -> tuple[Any, dict[str, Any], list[float]]:
    """Return a molecule at its minimum, its labels, and the seconds of both stages."""
    clock = [time.process_time()]
    mol, atoms = conformer(smiles)
    relax(atoms, fmax, steps)
    clock.append(time.process_time())
    if not same_graph(mol, atoms):
        raise FailureError("graph", "connectivity changed on relaxation")
    lab = dft.labels(atoms.get_chemical_symbols(), atoms.positions)
    clock.append(time.process_time())
    return atoms, lab, [clock[1] - clock[0], clock[2] - clock[1]]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    ap = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    ap.add_argument("out", type=Path)
    ap.add_argument("--xc", default="PBE0")
    ap.add_argument("--basis", default="def2-svp")
    ap.add_argument("--grid", type=int, default=2)
    ap.add_argument(
        "--shares",
        default="4:15,5:40,6:40,7:5",
        help="part of each size among the molecules above 3 atoms",
    )
    ap.add_argument("--fmax", type=float, default=0.01, help="eV/A")
    ap.add_argument("--steps", type=int, default=400)
    ap.add_argument("--max-seconds", type=float, default=6000.0)
    ap.add_argument("--max-molecules", type=int, default=10**9)
    ap.add_argument("--max-memory", type=int, default=3000, help="MB, PySCF")
    ap.add_argument("--shard", default="0/1", help="i/n: every n-th molecule")
    ap.add_argument("--list-only", action="store_true")
    return ap.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the generator; return the exit status."""
    args = parse_arguments(argv)
    start = time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    shard, n_shards = map(int, args.shard.split("/"))
    tag = "" if n_shards == 1 else f".{shard}"
    work = read_work(args.out, args.shares, tag)
    counts = sorted(Counter(heavy for _, heavy, _ in work).items())
    print("molecules by heavy atoms:", dict(counts), f"{time.time() - start:.0f} s", flush=True)
    if args.list_only:
        return 0

    level = {
        "xc": args.xc,
        "basis": args.basis,
        "grid": args.grid,
        "density_fitting": True,
        "geometry": f"GFN2-xTB, fmax {args.fmax}",
    }
    dft = DFT(args.xc, args.basis, args.grid, args.max_memory)
    ref = reference_energies(args.out / f"meta{tag}.json", dft, level)
    files = (("molecules", "xyz"), ("failures", "csv"), ("timing", "csv"))
    xyz, bad, tim = (args.out / f"{stem}{tag}.{ext}" for stem, ext in files)
    done = repair(xyz)
    if bad.exists():
        with bad.open() as fh:
            done |= {int(r[0]) for r in csv.reader(fh) if r}
    made = 0
    for index, heavy, smiles in work:
        if index % n_shards != shard or index in done:
            continue
        if time.time() - start > args.max_seconds or made >= args.max_molecules:
            break
        w0 = time.time()
        try:
            atoms, lab, seconds = label(smiles, dft, args.fmax, args.steps)
        except FailureError as err:
            append(bad, csv_line(index, smiles, err.stage, err.reason))
            continue
        except Exception as err:  # noqa: BLE001 - keep the run alive
            append(bad, csv_line(index, smiles, "error", repr(err)[:160]))
            continue
        append(xyz, frame(index, smiles, heavy, atoms, lab, ref))
        times = [f"{value:.3f}" for value in (*seconds, time.time() - w0)]
        append(tim, csv_line(index, heavy, len(atoms), lab["nao"], *times))
        made += 1
    print(f"labelled {made} in {time.time() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
