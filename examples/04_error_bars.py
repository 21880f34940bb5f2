"""Error bars: a Gaussian process on molecules, how good its error bars are, and a picture.

Run: ``python examples/04_error_bars.py``; it writes error_bars.png.
"""

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from kernchem import GPR, datasets
from kernchem.descriptors import EncodedBonds
from kernchem.uncertainty import CalibrationDisplay, ErrorUncertaintyDisplay, uncertainty_report

data = datasets.load_qm_small()
train, test = data[:500], data[500:1000]
labels = test["atomization_energy"]

model = GPR(descriptor=EncodedBonds(max_bonds=3)).fit(train, train["atomization_energy"])
mean, std = model.predict(test, return_std=True)
lower, upper = model.predict_interval(test, coverage=0.9)

report = uncertainty_report(labels, mean, std)
inside = ((lower <= labels) & (labels <= upper)).mean()
print(f"mean absolute error {report.mae:.2f} kcal/mol")
print(f"90 % intervals hold {100 * inside:.0f} % of the labels")
print(f"miscalibration area {report.miscalibration_area:.3f}, ENCE {report.ence:.3f}")
print(f"rank correlation of errors and error bars {report.error_spearman:.2f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
CalibrationDisplay.from_predictions(labels, mean, std, ax=left)
ErrorUncertaintyDisplay.from_predictions(labels, mean, std, ax=right)
figure.savefig("error_bars.png", dpi=150)
