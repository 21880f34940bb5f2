"""Files of the public datasets in their published formats, small, and a server that sends them."""

import io
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import scipy.io
from ase.build import molecule

# -- QM9 -------------------------------------------------------------------------------------------

#: The first record of the published archive, with one number in the archive's other notation.
METHANE = (
    "5\n"
    "gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t"
    "-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t\n"
    "C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689\n"
    "H\t 0.002150416\t-0.0060313176\t 1.9761204*^-3\t 0.133921\n"
    "H\t 1.0117308433\t 1.4637511618\t 0.0002765748\t 0.133922\n"
    "H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923\n"
    "H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923\n"
    "1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t"
    "3151.7078\n"
    "C\tC\t\n"
    "InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4\n"
)


#: The published free atoms: element, zero-point energy, U at 0 K and at 298.15 K, H and G at
#: 298.15 K (hartree), heat capacity (cal/mol/K).
ATOMREF = """\
   H     0.000000     -0.500273      -0.498857       -0.497912       -0.510927       2.981
   C     0.000000    -37.846772     -37.845355      -37.844411      -37.861317       2.981
   N     0.000000    -54.583861     -54.582445      -54.581501      -54.598897       2.981
   O     0.000000    -75.064579     -75.063163      -75.062219      -75.079532       2.981
   F     0.000000    -99.718730     -99.717314      -99.716370      -99.733544       2.981
"""


def gdb9_record(number, name):
    """One of ASE's molecules as a record of GDB-9; its labels are ``number + 0.01 * column``."""
    atoms = molecule(name)
    labels = "\t".join(f"{number + 0.01 * k:.2f}" for k in range(15))
    modes = max(3 * len(atoms) - 6, 1)
    rows = [
        f"{symbol}\t{x:.10f}\t{y:.10f}\t{z:.10f}\t 0.25"
        for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    lines = [
        str(len(atoms)),
        f"gdb {number}\t{labels}\t",
        *rows,
        "\t".join(["1000.5"] * modes) + "\t",
        f"{name}\t{name}-relaxed\t",
        "InChI=1S/a\tInChI=1S/b",
    ]
    return "\n".join(lines) + "\n"


def tar_bz2(members):
    """A packed archive of (name or tarfile.TarInfo, bytes)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:bz2") as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg() and not info.size:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


QM9_RECORDS = {
    1: METHANE,
    2: gdb9_record(2, "NH3"),
    3: gdb9_record(3, "H2O"),
    5: gdb9_record(5, "HCN"),
    7: gdb9_record(7, "CH3OH"),
}


def qm9_archive(records=None):
    records = QM9_RECORDS if records is None else records
    return tar_bz2((f"dsgdb9nsd_{k:06d}.xyz", text.encode()) for k, text in records.items())


def uncharacterized(numbers):
    """The list of molecules that are left out: nine lines of header, a rule behind the rows."""
    rule = "=" * 158
    header = (
        "\n\n\n\nList of molecules among the 133885 GDB9 molecules for which the Corina generated\n"
        "different SMILES and InChI strings when parsed through the program Openbabel.\n"
        f"{rule}\n#   Index      GDB17 SMILES     SMILES for B3LYP XYZ     D_IJ\n{rule}\n"
    )
    rows = "".join(f"{k:8d}       NC(=N)C#N     [NH]C(=[NH2])C#N    6.036217\n" for k in numbers)
    return f"{header}{rows}{rule}\n".encode()


# -- QM7, QM7b -------------------------------------------------------------------------------------

BOHR = 0.529177210903  # angstrom, CODATA 2018
QM7_NAMES = "CH4 C2H6 CH3OH CH3CN HCOOH CH3SH H2CO NH3 C2H4 H2O".split()
QM7B_NAMES = "CH4 C2H6 CH3OH CH3CN CH3Cl CH3SH H2CO C6H6 C2H2 HCl CO2 H2O".split()


def padded(name):
    """Charges (23,) and coordinates (23, 3) in bohr."""
    atoms = molecule(name)
    charges, positions = np.zeros(23), np.zeros((23, 3))
    charges[: len(atoms)] = atoms.numbers
    positions[: len(atoms)] = atoms.positions / BOHR
    return charges, positions


def coulomb_matrix(charges, positions):
    matrix = np.zeros((len(charges), len(charges)))
    for i, (a, r) in enumerate(zip(charges, positions, strict=True)):
        for j, (b, s) in enumerate(zip(charges, positions, strict=True)):
            if a and b:
                matrix[i, j] = 0.5 * a**2.4 if i == j else a * b / np.linalg.norm(r - s)
    return matrix


def mat(arrays, **options):
    stream = io.BytesIO()
    scipy.io.savemat(stream, arrays, **options)
    return stream.getvalue()


def qm7_arrays(names=QM7_NAMES):
    """The five published arrays, in single precision as there; folds of every fifth molecule."""
    molecules = [padded(name) for name in names]
    n = len(names)
    return {
        "X": np.array([coulomb_matrix(*m) for m in molecules], dtype=np.float32),
        "R": np.array([positions for _, positions in molecules], dtype=np.float32),
        "Z": np.array([charges for charges, _ in molecules], dtype=np.float32),
        "T": -100.0 * np.arange(1, n + 1, dtype=np.float32)[None],
        "P": np.arange(n).reshape(-1, 5).T,
    }


def qm7b_arrays(names=QM7B_NAMES):
    matrices = [coulomb_matrix(*padded(name)) for name in names]
    labels = np.arange(len(names) * 14, dtype=np.float32).reshape(-1, 14)
    return {
        "X": np.array(matrices, dtype=np.float32),
        "T": labels,
        "names": np.array([f"label {k}" for k in range(14)]),
    }


# -- rMD17 -----------------------------------------------------------------------------------------


def rmd17_arrays(name="ethanol", n_frames=4):
    atoms = molecule({"ethanol": "CH3CH2OH", "benzene": "C6H6"}[name])
    rng = np.random.default_rng(len(atoms))
    shape = (n_frames, len(atoms), 3)
    return {
        "nuclear_charges": atoms.numbers.astype(np.uint8),
        "coords": atoms.positions + rng.normal(scale=0.02, size=shape),
        "energies": rng.normal(size=n_frames) - 1e5,
        "forces": rng.normal(size=shape),
        "old_indices": rng.permutation(n_frames).astype(float),
        "old_energies": rng.normal(size=n_frames) - 1e5,
        "old_forces": rng.normal(size=shape),
    }


def npz(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def rmd17_files(molecules=("benzene", "ethanol")):
    files = {f"rmd17/npz_data/rmd17_{name}.npz": npz(rmd17_arrays(name)) for name in molecules}
    files["rmd17/readme.txt"] = b"THE REVISED MD17 dataset\n"
    for k in range(1, 6):
        for part, first in (("train", 0), ("test", 2)):
            rows = f"{first * k}\n{first * k + 1}\n".encode()
            files[f"rmd17/splits/index_{part}_{k:02d}.csv"] = rows
    return files


def rmd17_archive(**options):
    folders = []
    for name in ("rmd17", "rmd17/npz_data", "rmd17/splits"):
        info = tarfile.TarInfo(name)
        info.type = tarfile.DIRTYPE
        folders.append((info, b""))
    return tar_bz2([*folders, *rmd17_files(**options).items()])


# -- the server ------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Sends ``files`` (path to content) as told.

    Attributes
    ----------
    breaks : list of int or None
        Bytes after which the next answers break off.
    statuses : list of int
        What the next requests are answered with, without content.
    ranges, if_range, marks : bool
        Whether parts are sent; whether If-Range is obeyed; whether answers carry an entity tag.
    content_range : str or None
        What an answer says of the part that it sends, instead of the truth.
    tag : str
        What stands before the quotes of an entity tag.
    headers : dict
        More headers of answers with content.
    length : bool
        Whether answers tell how long they are.
    requests : list of dict
        Headers of all requests, and the path.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.breaks, self.statuses = {}, [], [], []
        self.ranges = self.if_range = self.marks = self.length = True
        self.content_range, self.tag, self.headers = None, "", {}
        self.delay = 0.0
        self.released = threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, client_address):
        pass


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        pass

    def do_GET(self):
        server = self.server
        server.requests.append({"path": self.path, **self.headers})
        if server.delay:
            server.released.wait(server.delay)
        if server.statuses:
            self.answer(server.statuses.pop(0), b"", {})
            return
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.answer(404, b"<html>not here</html>", {})
            return
        tag = f'{server.tag}"{hash(content):x}"'
        headers = {"ETag": tag} if server.marks else {}
        headers |= server.headers
        asked = self.headers.get("Range") if server.ranges else None
        if asked and server.if_range and self.headers.get("If-Range", tag) != tag:
            asked = None
        if not asked:
            self.answer(200, content, headers)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self.answer(416, b"", {})
            return
        sent = self.server.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers["Content-Range"] = sent
        self.answer(206, content[start:], headers)

    def answer(self, status, content, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        end = self.server.breaks.pop(0) if self.server.breaks else None
        self.wfile.write(content[:end])


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
