"""Which molecules to label: a campaign beside random choice, and a picture.

Run: ``python examples/05_active_learning.py``; it writes active_learning.png, and the campaign is
kept in the folder campaign.
"""

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from kernchem import GPR, Structures, datasets
from kernchem.descriptors import BagOfBonds
from kernchem.sampling import ActiveLearner, Budget

data = datasets.load_qm_small()
order = np.random.default_rng(0).permutation(len(data))
pool, test = data[order[:1000]], data[order[1000:]]
truth = test["atomization_energy"]


def energy(molecule: Structures) -> np.ndarray:
    """Stand for a quantum chemical program that takes hours."""
    return molecule["atomization_energy"]


def error_of(rows: np.ndarray) -> float:
    """Return the mean absolute error of a model that knows some labels."""
    model = GPR(descriptor=BagOfBonds())
    model.fit(pool[rows], pool["atomization_energy"][rows])
    return float(np.abs(model.predict(test) - truth).mean())


learner = ActiveLearner(
    GPR(descriptor=BagOfBonds()),
    energy,
    folder="campaign",
    target="atomization_energy",
    batch_size=25,
    initial=50,
    stop=Budget(labels=200),
)
learner.run(pool)
print(learner.stopped_)

budgets = [50, 100, 200]
chosen = [error_of(learner.selected_[:n]) for n in budgets]
draws = [np.random.default_rng(seed).permutation(len(pool)) for seed in range(5)]
at_random = np.array([[error_of(rows[:n]) for rows in draws] for n in budgets])
for n, own, others in zip(budgets, chosen, at_random, strict=True):
    print(f"{n} labels: chosen {own:.2f}, at random {others.mean():.2f} kcal/mol")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
learner.plot(left)
right.plot(budgets, chosen, "o-", label="chosen")
right.fill_between(
    budgets, at_random.min(axis=1), at_random.max(axis=1), color="0.85", label="random, 5 draws"
)
right.plot(budgets, at_random.mean(axis=1), color="0.5")
right.set(xlim=(0, None), ylim=(0, None), xlabel="number of labels")
right.set_ylabel(f"MAE on {len(test)} others / (kcal/mol)")
right.legend(frameon=False)
figure.savefig("active_learning.png", dpi=150)
