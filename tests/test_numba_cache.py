"""Numba's options live in one place, and its disk cache never returns the numbers of old code."""

import ast
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import pytest

import kernchem

PACKAGE = Path(kernchem.__file__).parent

OTHER_COMPILERS = {"njit", "vectorize", "guvectorize", "jitclass", "cfunc", "stencil", "prange"}

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


def sources():
    """Every Python source of the package, that of linked folders included."""
    found = []
    for folder, subfolders, files in os.walk(PACKAGE, followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    assert any(path.parent.name == "descriptors" for path in found)
    return sorted(found)


def imports(tree):
    """(module, name) of every import, inside functions too; the name is empty for a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def name_of(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def faults(source, file):
    """What a source in a file of that name does against the rules."""
    tree = ast.parse(source)
    found = []
    for module, name in imports(tree):
        top = module.split(".")[0]
        if top in {"numba", "llvmlite"} and file not in {"_numba.py", "_fastmath.py"}:
            found.append(f"imports {module}")
        if (module, name) == ("kernchem._numba", "jit") and not (
            file.endswith("_jit.py") or file == "_fastmath.py"
        ):
            found.append("compiles a function")
        compiled = {"kernchem._numba", "kernchem._fastmath", "numpy", "math"}
        if file.endswith("_jit.py") and not (module in compiled or module.endswith("_jit")):
            found.append(f"imports {module}, which is not compiled code")
    for node in ast.walk(tree):
        if name_of(node) in OTHER_COMPILERS and file != "_numba.py":
            found.append(f"uses {name_of(node)}")
        if isinstance(node, ast.Call):
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            if name_of(node.func) == "jit" and set(options) - {"fastmath"}:
                found.append("gives options to jit")
            if name_of(node.func) == "njit" and isinstance(options.get("fastmath"), ast.Constant):
                found.append("fastmath is not the named set of flags")
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_rules_of_compiled_code(path):
    assert faults(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import numba", "gaussian.py"),
        ("from numba import njit", "gaussian_jit.py"),
        ("def f():\n    import numba.core", "gaussian.py"),
        ("from kernchem._numba import jit", "gaussian.py"),
        ("from kernchem._numba import jit\njit(parallel=True)(abs)", "gaussian_jit.py"),
        ("from kernchem.structures import Structures", "gaussian_jit.py"),
        ("import numba\nnumba.njit(fastmath=True)", "_numba.py"),
        ("import numba\n@numba.njit\ndef f(): ...", "_fastmath.py"),
    ],
)
def test_the_rules_find_what_breaks_them(source, name):
    assert faults(source, name) != []


def test_fastmath_keeps_nan_and_infinity():
    from kernchem._numba import FASTMATH

    assert not FASTMATH & {"nnan", "ninf", "fast"}


HELPER = """
from kernchem._numba import jit
@jit
def helper(x):
    return x + 1.0
"""
CALLER = """
from kernchem._numba import jit
from kernchem.probe_helper_jit import helper
@jit
def caller(x):
    return 10.0 * helper(x)
"""
RUN = """
from kernchem.probe_caller_jit import caller
print(caller(1.0), sum(caller.stats.cache_hits.values()), sum(caller.stats.cache_misses.values()))
"""


@pytest.fixture
def copied_package(tmp_path):
    """A copy of the sources, with links resolved, and two modules that call each other."""
    package = tmp_path / "kernchem"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.npz", "data"))
    (package / "probe_helper_jit.py").write_text(HELPER)
    (package / "probe_caller_jit.py").write_text(CALLER)
    return package


def run(package, code, **environment):
    """Run code with the copied package in a new process."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=package.parent,
        env={**inherited, "PYTHONPATH": str(package.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def edit(path, old, new):
    """Change a source without changing its size or its time."""
    status = path.stat()
    source = path.read_text()
    assert old in source
    assert len(old) == len(new)
    path.write_text(source.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Python itself trusts time and size: its own bytecode would be the old one.
    shutil.rmtree(path.parent / "__pycache__" / path.stem, ignore_errors=True)
    for bytecode in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        bytecode.unlink()


@needs_jit
def test_an_edit_of_a_helper_in_another_file_changes_the_numbers(copied_package):
    assert run(copied_package, RUN) == ["20.0", "0", "1"]
    assert run(copied_package, RUN) == ["20.0", "1", "0"]  # from the cache
    edit(copied_package / "probe_helper_jit.py", "x + 1.0", "x + 2.0")
    assert run(copied_package, RUN) == ["30.0", "0", "1"]  # compiled anew
    assert run(copied_package, RUN) == ["30.0", "1", "0"]


@needs_jit
def test_without_the_digest_the_numbers_would_be_stale(copied_package):
    # The experiment above is worth something only if it fails when the protection is gone.
    numba_module = copied_package / "_numba.py"
    source = numba_module.read_text()
    constant = source.replace("    return digest.hexdigest()", '    return "constant"')
    assert constant != source
    numba_module.write_text(constant)
    assert run(copied_package, RUN) == ["20.0", "0", "1"]
    edit(copied_package / "probe_helper_jit.py", "x + 1.0", "x + 2.0")
    assert run(copied_package, RUN) == ["20.0", "1", "0"]


@needs_jit
@pytest.mark.parametrize("shared", ["_fastmath.py", "descriptors/probe_jit.py"])
def test_the_digest_covers_shared_helpers_and_the_descriptors(copied_package, shared):
    path = copied_package / shared
    if not path.exists():
        path.write_text(HELPER)
    code = f"""
    from kernchem._numba import _sources_digest
    for text in ("", "", "\\n# edited\\n"):
        with open({str(path)!r}, "a") as file:
            file.write(text)
        print(_sources_digest())
        _sources_digest.cache_clear()
    """
    before, again, edited = run(copied_package, code)
    assert before == again != edited


@needs_jit
def test_a_real_kernel_comes_from_the_cache_in_the_next_process(copied_package):
    code = """
    import numpy as np
    from kernchem.kernels import Gaussian, vector
    print(Gaussian()(np.eye(2))[0, 1], sum(vector.finish_squared.stats.cache_hits.values()))
    """
    first = run(copied_package, code)
    assert run(copied_package, code) == [first[0], "1"]
    assert first[1] == "0"
    edit(copied_package / "_fastmath.py", "0.16666666666666669", "0.36666666666666669")
    edited = run(copied_package, code)
    assert edited[1] == "0"
    assert edited[0] != first[0]


@needs_jit
def test_no_folder_for_a_cache(copied_package):
    # Neither the package's __pycache__ nor a home can be made where a file is in the way; this
    # holds for the superuser too, whom permissions do not stop.
    shutil.rmtree(copied_package / "__pycache__", ignore_errors=True)
    (copied_package / "__pycache__").write_text("a file in the way")
    blocked = copied_package.parent / "blocked"
    blocked.write_text("a file in the way")
    below = str(blocked / "home")
    code = """
    from kernchem.probe_caller_jit import caller
    print(caller(1.0), type(caller._cache).__name__)
    """
    environment = {
        "HOME": below,
        "XDG_CACHE_HOME": below,
        "USERPROFILE": below,
        "LOCALAPPDATA": below,
        "APPDATA": below,
    }
    assert run(copied_package, code, **environment) == ["20.0", "NullCache"]
