"""Learning curves under a fixed protocol, resumable and with everything needed to repeat them."""

from kernchem.benchmark.curves import LearningCurves
from kernchem.benchmark.learning import learning_curves

__all__ = ["LearningCurves", "learning_curves"]
