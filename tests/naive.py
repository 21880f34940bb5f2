"""Slow oracles in plain Python, written from the papers' equations."""

import math

# --- kernels between rows of features -------------------------------------------------------------


def squared_euclidean(x, y):
    """|x - y|_2^2, summed exactly."""
    return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def manhattan(x, y):
    """|x - y|_1, summed exactly."""
    return math.fsum(abs(a - b) for a, b in zip(x, y, strict=True))


def gaussian_kernel(x, y, length_scale):
    """exp(-|x - y|_2^2 / (2 l^2))."""
    return math.exp(-squared_euclidean(x, y) / (2.0 * length_scale**2))


def laplacian_kernel(x, y, length_scale):
    """exp(-|x - y|_1 / l)."""
    return math.exp(-manhattan(x, y) / length_scale)


# --- global descriptors ---------------------------------------------------------------------------


def coulomb_matrix(numbers, positions):
    """C_ii = 0.5 Z_i^2.4, C_ij = Z_i Z_j / r_ij."""
    charges = [int(z) for z in numbers]
    return [
        [
            0.5 * zi**2.4 if i == j else zi * zj / math.dist(positions[i], positions[j])
            for j, zj in enumerate(charges)
        ]
        for i, zi in enumerate(charges)
    ]


def packed_coulomb_matrix(matrix, order, size):
    """Lower triangle of the reordered matrix, row after row, padded to ``size`` atoms."""
    packed = [0.0] * (size * (size + 1) // 2)
    for i, a in enumerate(order):
        for j, b in enumerate(order[: i + 1]):
            packed[i * (i + 1) // 2 + j] = matrix[a][b]
    return packed


def sorted_coulomb_matrix(numbers, positions, size, noise=None):
    """Packed Coulomb matrix, rows by descending norm plus noise (no ties)."""
    matrix = coulomb_matrix(numbers, positions)
    norms = [math.hypot(*row) for row in matrix]
    if noise is not None:
        norms = [norm + add for norm, add in zip(norms, noise, strict=True)]
    order = sorted(range(len(norms)), key=lambda i: -norms[i])
    return packed_coulomb_matrix(matrix, order, size)


def bag_of_bonds(numbers, positions):
    """Bags by sorted tuple of atomic numbers, each in descending order."""
    matrix = coulomb_matrix(numbers, positions)
    bags = {}
    for i, zi in enumerate(numbers):
        bags.setdefault((int(zi),), []).append(matrix[i][i])
        for j in range(i):
            pair = tuple(sorted((int(zi), int(numbers[j]))))
            bags.setdefault(pair, []).append(matrix[i][j])
    return {name: sorted(values, reverse=True) for name, values in bags.items()}


def bonds_between(numbers, positions, radii, bond_factor):
    """Number of bonds on the shortest path between any two atoms (Floyd and Warshall)."""
    n = len(numbers)
    steps = [[0 if i == j else math.inf for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in range(n):
            limit = bond_factor * (radii[int(numbers[i])] + radii[int(numbers[j])])
            if i != j and math.dist(positions[i], positions[j]) < limit:
                steps[i][j] = 1
    for k in range(n):
        for i in range(n):
            for j in range(n):
                steps[i][j] = min(steps[i][j], steps[i][k] + steps[k][j])
    return steps


def encoded_bonds(numbers, positions, pair, thetas, sigma, steps=None, max_bonds=None):
    """Sum over the pairs of two elements of exp(-(theta - r)^2 / (2 sigma^2)), for each theta."""
    distances = [
        math.dist(positions[i], positions[j])
        for i in range(len(numbers))
        for j in range(i)
        if sorted((int(numbers[i]), int(numbers[j]))) == sorted(pair)
        and (max_bonds is None or steps[i][j] <= max_bonds)
    ]
    return [
        math.fsum(math.exp(-((theta - r) ** 2) / (2.0 * sigma**2)) for r in distances)
        for theta in thetas
    ]
