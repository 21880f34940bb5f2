"""The program of ``fake_program`` as a baseline."""

from functools import partial

from fake_program import open_fake, open_once

from kernchem.baselines.programs import ProgramBaseline


class Fake(ProgramBaseline):
    """The program as a baseline."""

    def __init__(self, log, *, delay=0.0, forces=False, n_jobs=1, cache=None, progress=False):
        super().__init__(forces=forces, n_jobs=n_jobs, cache=cache, progress=progress)
        self.log = log
        self.delay = delay

    def identity(self):
        return "fake 1"

    def session(self):
        return partial(open_fake, str(self.log), self.delay)


class FakeBonds(Fake):
    """The program with bond orders that fall off with the distance."""

    def __init__(self, log, *, forces=False, bond_orders=False, n_jobs=1, cache=None):
        super().__init__(log, forces=forces, n_jobs=n_jobs, cache=cache)
        self.bond_orders = bond_orders

    def session(self):
        return partial(open_fake, str(self.log), self.delay, bool(self.bond_orders))


class Once(Fake):
    """The program, which dies of the first ion that it meets, once."""

    def session(self):
        return partial(open_once, str(self.log))
