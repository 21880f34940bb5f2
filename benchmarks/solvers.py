"""Speed and memory of the KRR solution against bare dgemm, and against the peers' solvers.

One thread: run with OMP_NUM_THREADS=1. The rate counts the n^3 / 3 flops of
the factorisation; the memory is the growth of the peak resident set over the kernel matrix itself.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from scipy.linalg import blas

from kernchem.solvers import CholeskyFactor


def peak_bytes() -> int:
    """Return the peak resident set of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kernel(n: int) -> np.ndarray:
    """Return a Laplacian kernel matrix of random points, without temporaries of its size."""
    x = np.random.default_rng(0).uniform(0, 10, size=(n, 3))
    K = np.empty((n, n))
    for i in range(n):
        np.exp(-np.abs(x - x[i]).sum(axis=1), out=K[i])
    return K


def dgemm_rate(n: int, repeats: int) -> float:
    """Return the best rate of dgemm, flops per CPU second."""
    a = np.asfortranarray(np.random.default_rng(1).normal(size=(n, n)))
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        blas.dgemm(1.0, a, a)
        best = min(best, time.process_time() - start)
    return 2.0 * n**3 / best


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=5000, help="rows of the kernel matrix")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    n = arguments.n
    K = kernel(n)
    y = np.sin(np.arange(n, dtype=float))[:, None]
    CholeskyFactor(K[:50, :50].copy(), 1e-6).solve(y[:50])

    before = peak_bytes()
    start = time.process_time()
    CholeskyFactor(K, 1e-6).solve(y)
    seconds = time.process_time() - start
    memory = 1.0 + (peak_bytes() - before) / K.nbytes
    for _ in range(arguments.repeats - 1):
        K = kernel(n)
        start = time.process_time()
        CholeskyFactor(K, 1e-6).solve(y)
        seconds = min(seconds, time.process_time() - start)
    rate = n**3 / 3.0 / seconds

    K = kernel(n)
    factor = CholeskyFactor(K, 1e-6)
    start = time.process_time()
    factor.diag_inverse()
    loo_seconds = time.process_time() - start
    del factor

    from sklearn.kernel_ridge import KernelRidge

    start = time.process_time()
    KernelRidge(alpha=1e-6, kernel="precomputed").fit(kernel_again := kernel(n), y)
    peer = time.process_time() - start
    start = time.process_time()
    kernel(n)
    peer -= time.process_time() - start
    del kernel_again
    gemm = dgemm_rate(min(n, 3000), arguments.repeats)

    result = {
        "n": n,
        "seconds": seconds,
        "gflops": rate / 1e9,
        "dgemm_gflops": gemm / 1e9,
        "fraction_of_dgemm": rate / gemm,
        "memory_over_kernel": memory,
        "loo_seconds": loo_seconds,
        "sklearn_kernel_ridge_seconds": peer,
        "ratio_to_sklearn": seconds / peer,
    }
    for name, value in result.items():
        print(f"{name:32}{value:12.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
