"""Processes of several levels by their textbook formulas, on dense matrices."""

import numpy as np
from scipy.spatial.distance import cdist


def laplacian(width):
    """The kernel exp(-|x - x'|_1 / width)."""
    return lambda X, Y: np.exp(-cdist(X, Y, "cityblock") / width)


def gaussian(width):
    """The kernel exp(-|x - x'|_2^2 / (2 width^2))."""
    return lambda X, Y: np.exp(-cdist(X, Y, "sqeuclidean") / (2 * width**2))


def autoregressive(kernels, variances, rho):
    """The covariance of y_t = rho_t y_{t-1} + delta_t between labels (X, levels)."""

    def covariance(X, t, Y, u):
        # cov(y_t, y_u) by the recursion itself: peel off the higher of both levels.
        def between(a, b):
            if a < b:
                return rho[b - 1] * between(a, b - 1)
            if a > b:
                return rho[a - 1] * between(a - 1, b)
            own = variances[a] * kernels[a](X, Y)
            return own if a == 0 else own + rho[a - 1] ** 2 * between(a - 1, a - 1)

        out = np.empty((len(X), len(Y)))
        for a in set(t):
            for b in set(u):
                block = np.ix_(t == a, u == b)
                out[block] = between(a, b)[block]
        return out

    return covariance


def coregional(kernel, B):
    """The covariance B (x) k."""
    return lambda X, t, Y, u: B[np.ix_(t, u)] * kernel(X, Y)


class Dense:
    """Labels y of samples X at levels t, with noise per label and a linear part H."""

    def __init__(self, covariance, X, t, y, noise, H=None):
        self.covariance, self.X, self.t, self.y = covariance, X, t, y
        self.H = np.zeros((len(y), 0)) if H is None else H
        self.K = covariance(X, t, X, t) + np.diag(noise)
        self.P = np.linalg.inv(self.K)
        self.G = np.linalg.inv(self.H.T @ self.P @ self.H)
        self.beta = self.G @ self.H.T @ self.P @ y

    def predict(self, X, t, h=None):
        """Mean and covariance of the function at level t."""
        levels = np.full(len(X), t)
        h = np.zeros((len(X), 0)) if h is None else h
        cross = self.covariance(X, levels, self.X, self.t)
        r = h - cross @ self.P @ self.H
        mean = h @ self.beta + cross @ self.P @ (self.y - self.H @ self.beta)
        prior = self.covariance(X, levels, X, levels)
        return mean, prior - cross @ self.P @ cross.T + r @ self.G @ r.T

    def score(self):
        """Minus twice the restricted log likelihood per label, at the best common factor."""
        n, p = self.H.shape
        rest = self.y - self.H @ self.beta
        s2 = rest @ self.P @ rest / (n - p)
        logs = np.linalg.slogdet(self.K)[1] + np.linalg.slogdet(self.H.T @ self.P @ self.H)[1]
        return (logs + (n - p) * (1 + np.log(2 * np.pi * s2))) / n


def drawn(rng, X, kernels, variances, rho):
    """One draw of each level, array (n, n_levels)."""
    levels, below = [], 0.0
    for t, (kernel, variance) in enumerate(zip(kernels, variances, strict=True)):
        root = np.linalg.cholesky(variance * kernel(X, X) + 1e-12 * np.eye(len(X)))
        below = (rho[t - 1] * below if t else 0.0) + root @ rng.normal(size=len(X))
        levels.append(below)
    return np.stack(levels, axis=1)


def flat(X, y):
    """Samples, levels and labels of a table with missing labels, level by level."""
    rows = [np.flatnonzero(np.isfinite(column)) for column in y.T]
    t = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    i = np.concatenate(rows)
    return X[i], t, y[i, t]
