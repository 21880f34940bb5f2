"""Posterior covariances and greedy choices in plain NumPy."""

import numpy as np

NOISE = 1e-3
#: How much of what a row tells of itself counts.
OWN = {"ivr": 1.0, "isd": 1e-3}


def points(n=60, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def dense(K, rows, noise, H=None):
    """Posterior covariance of all rows, of generalised least squares with H."""
    P = np.linalg.inv(K[np.ix_(rows, rows)] + noise * np.eye(len(rows)))
    V = K - K[:, rows] @ P @ K[rows]
    if H is not None:
        r = H - K[:, rows] @ P @ H[rows]
        V = V + r @ np.linalg.inv(H[rows].T @ P @ H[rows]) @ r.T
    return V


def brute_force(K, labelled, noise, weights, n, n_pool, H=None, blocks=None, costs=None):
    """Choose by the weighted trace of the covariance, computed anew for every candidate."""
    rows, picks, gains = list(labelled), [], []
    blocks = [[k] for k in range(n_pool)] if blocks is None else blocks
    for _ in range(n):
        before = weights @ np.diag(dense(K, rows, noise, H)) if rows else weights @ np.diag(K)
        best = (-np.inf, None)
        for b, block in enumerate(blocks):
            if b in picks or set(block) & set(labelled):
                continue
            after = weights @ np.diag(dense(K, rows + list(block), noise, H))
            gain = (before - after) / (1.0 if costs is None else costs[b])
            best = max(best, (gain, b))
        picks.append(best[1])
        gains.append(best[0])
        rows += list(blocks[best[1]])
    return picks, gains


def by_deviation(K, labelled, weights, n, H=None, blocks=None):
    """Choose by the fall of other deviations to first order, as they were at some picks."""
    rows, picks, gains, due = list(labelled), [], [], 0
    blocks = [[k] for k in range(len(K))] if blocks is None else blocks
    for count in range(n):
        V = dense(K, rows, NOISE, H) if rows else K
        if count == due:
            w = 0.5 * weights / np.sqrt(np.diag(V))
            due += max(1, int(0.25 * count))
        gain = np.full(len(blocks), -np.inf)
        for b, block in enumerate(blocks):
            if b not in picks and not set(block) & set(labelled):
                own, others = V[np.ix_(block, block)], np.delete(np.arange(len(K)), block)
                S = V[np.ix_(block, others)] @ (w[others, None] * V[np.ix_(others, block)])
                S += OWN["isd"] * own @ (w[block][:, None] * own)
                gain[b] = np.trace(np.linalg.solve(own + NOISE * np.eye(len(block)), S))
        picks.append(int(np.argmax(gain)))
        gains.append(gain[picks[-1]])
        rows += list(blocks[picks[-1]])
    return picks, gains
