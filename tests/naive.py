"""Slow oracles in plain Python, written from the papers' equations."""

import itertools
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


# --- overlap matrices -----------------------------------------------------------------------------


def overlap_element(first, second, a_i, a_j, d):
    """Overlap of two normalised orbitals, "s" or a direction 0, 1, 2 of p; d = r_i - r_j."""
    total = a_i + a_j
    m = a_i * a_j / total
    g = 2.0 * math.sqrt(a_i * a_j) / total
    s = g**1.5 * math.exp(-m * math.fsum(c * c for c in d))
    if first == second == "s":
        return s
    if second == "s":
        return -2.0 * math.sqrt(a_i) * a_j / total * d[first] * s
    if first == "s":
        return 2.0 * a_i * math.sqrt(a_j) / total * d[second] * s
    return g * s * ((first == second) - 2.0 * m * d[first] * d[second])


def overlap_matrix(numbers, positions, radii, orbitals, weights=None):
    """All overlaps; each orbital is multiplied by the weight of its atom."""
    weights = weights or [1.0] * len(numbers)
    basis = [
        (i, c) for i in range(len(numbers)) for c in ("s", 0, 1, 2)[: 1 if orbitals == "s" else 4]
    ]
    exponents = [0.5 / radii[int(z)] ** 2 for z in numbers]
    return [
        [
            weights[i] * weights[j] * overlap_element(
                c, e, exponents[i], exponents[j],
                [p - q for p, q in zip(positions[i], positions[j], strict=True)],
            )
            for j, e in basis
        ]
        for i, c in basis
    ]  # fmt: skip


def overlap_surroundings(numbers, positions, centre, r_cut):
    """Numbers, positions and weights of the atoms within the cutoff of one of them."""
    found = []
    for number, position in zip(numbers, positions, strict=True):
        distance = math.dist(position, positions[centre])
        if distance < r_cut:
            found.append((number, position, (1.0 - distance**2 / r_cut**2) ** 2))
    return [list(column) for column in zip(*found, strict=True)]


def matched_distance(first, second):
    """Root mean square distance of atoms, over the best of all ways to pair them off.

    Rows of zeros stand in for the atoms that the smaller structure lacks.
    """
    n, width = max(len(first), len(second)), len(first[0])
    first, second = (
        [list(row) for row in rows] + [[0.0] * width] * (n - len(rows)) for rows in (first, second)
    )
    return math.sqrt(
        min(
            math.fsum(squared_euclidean(a, second[k]) for a, k in zip(first, order, strict=True))
            for order in itertools.permutations(range(n))
        )
        / n
    )
