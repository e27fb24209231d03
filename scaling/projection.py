"""Variable projection: linear parameters follow from the others.

Golub and Pereyra 1973, SIAM J. Numer. Anal. 10(2). On a grid of the parameters
that enter a law nonlinearly, those that enter linearly are found exactly; what
is left of a five-parameter search is a grid of two.
"""

import itertools

import numpy as np


def project(columns_GxMxK: np.ndarray, target: np.ndarray) -> np.ndarray:
  """argmin over t >= 0 of |columns @ t - target|, exactly, for each of G.

  Each support is tried: with K columns there are 2^K - 1, and among the
  solutions that are non-negative the least residual is the optimum.

  Args:
    columns_GxMxK: one design a row, of few columns.
    target: [M], the same for all, or [G, M].

  Returns:
    t, [G, K].
  """
  gram = np.einsum('gmi,gmj->gij', columns_GxMxK, columns_GxMxK)
  target_GxM = np.broadcast_to(target, columns_GxMxK.shape[:2])
  pull = np.einsum('gmi,gm->gi', columns_GxMxK, target_GxM)
  best = np.zeros_like(pull)
  least = np.zeros(len(pull))
  for support in itertools.product([0.0, 1.0], repeat=gram.shape[-1]):
    keep = np.array(support)
    # Columns outside the support become unit vectors with a zero target; the
    # ridge of rounding size keeps columns that coincide from being singular.
    system = gram * np.outer(keep, keep) + np.diag(1 - keep)
    system += (
      1e-14 * np.einsum('gii->gi', system)[..., None] * np.eye(len(keep))
    )
    solved = np.linalg.solve(system, (pull * keep)[..., None])[..., 0]
    gain = np.sum(solved * pull, axis=1)  # |target|^2 less |residual|^2
    better = np.all(solved >= 0, axis=1) & (gain > least)
    best[better], least[better] = solved[better], gain[better]
  return best


def grid(*axes: np.ndarray) -> tuple[np.ndarray, ...]:
  """Every combination of values of some parameters, one array [G] each."""
  return tuple(
    mesh.ravel() for mesh in np.meshgrid(*axes, indexing='ij', copy=True)
  )
