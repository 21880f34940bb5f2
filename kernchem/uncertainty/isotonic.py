import numpy as np
from kernchem.uncertainty.intervals import conformal_quantile
class IsotonicCalibration:
    def fit(self, z):
        self.z_=np.sort(np.abs(z)); return self
    def interval(self, mean, std, coverage):
        q=conformal_quantile(self.z_, coverage)
        return mean-q*std, mean+q*std
