"""A program that counts its calls and fails on demand; all that its workers import."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from kernchem.baselines.records import Record

#: What the program does when it meets one of these elements.
RAISES, RETURNS_NAN, CRASHES, FAILS, EXITS = 2, 10, 18, 36, 54


def energy_of(numbers, positions):
    return float(numbers @ (1.0 + (positions**2).sum(axis=1)))


def bond_orders_of(positions):
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    return np.exp(-distances) - np.eye(len(positions))


def open_fake(log, delay, bond_orders=False):
    """Return a function from a job to a record that writes a line for each of its calls."""

    def run(job):
        with Path(log).open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()} {job.charge} {job.multiplicity}\n")
        time.sleep(delay)
        first = int(job.numbers[0])
        if first == RAISES:
            raise ArithmeticError("no\nelectrons")
        if first == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        if first == EXITS:
            os._exit(3)
        if first == FAILS:
            return Record.failure("not converged")
        sys.stdout.write("noise that must not reach the parent\n")
        energy = float("nan") if first == RETURNS_NAN else energy_of(job.numbers, job.positions)
        return Record(
            energy,
            forces=-2.0 * job.numbers[:, None] * job.positions,
            charges=np.full(len(job.numbers), job.charge / len(job.numbers)),
            bond_orders=bond_orders_of(job.positions) if bond_orders else None,
        )

    return run


def open_once(log):
    """Return a function like the other one, which dies of an ion unless it has before."""
    run = open_fake(log, 0.0)

    def run_once(job):
        died = Path(log).with_suffix(".died")
        if job.charge and not died.exists():
            died.touch()
            with Path(log).open("a", encoding="ascii") as file:
                file.write("died\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        return run(job)

    return run_once


def calls(log):
    """Return how often the program was called."""
    return len(Path(log).read_text(encoding="ascii").splitlines()) if Path(log).exists() else 0
