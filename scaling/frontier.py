"""The compute-efficient frontier: the least loss that FLOPs can buy."""

import numpy as np

from scaling.law import Law
from scaling.points import Points

_SIZES = 400  # on the grid of sizes


def flops_per_token(points: Points, params: np.ndarray) -> np.ndarray:
  """Training FLOPs a token of models of some sizes.

  Linear between the sizes that were run, and on beyond them, as a head costs
  what it costs in the smallest model too. So the curve follows the points' own
  convention of FLOPs, whatever it is.
  """
  sizes, first = np.unique(points['params'], return_index=True)
  rate = (points['flops'] / points['tokens'])[first]
  # Never below what the nearest size costs a parameter, so never negative.
  below = params / sizes[0] * rate[0]
  above = params / sizes[-1] * rate[-1]
  if len(sizes) > 1:
    slopes = np.diff(rate) / np.diff(sizes)
    below = np.maximum(below, rate[0] + slopes[0] * (params - sizes[0]))
    above = rate[-1] + np.maximum(slopes[-1], 0) * (params - sizes[-1])
  inside = np.interp(params, sizes, rate)
  return np.select(
    [params < sizes[0], params > sizes[-1]], [below, above], inside
  )


def frontier(
  law: Law, params_P: np.ndarray, points: Points, flops: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The best size and its loss at each budget.

  Args:
    law: that was fitted.
    params_P: its parameters.
    points: what it was fitted to, which tells FLOPs from sizes.
    flops: budgets, shape [C].

  Returns:
    params_C and loss_C.
  """
  low, high = np.min(points['params']), np.max(points['params'])
  params_S = np.geomspace(low / 100, high * 100, _SIZES)
  tokens_SxC = flops / flops_per_token(points, params_S)[:, None]
  loss_SxC = law.predict(
    params_P,
    {
      'params': np.broadcast_to(params_S[:, None], tokens_SxC.shape).ravel(),
      'tokens': tokens_SxC.ravel(),
    },
  ).reshape(tokens_SxC.shape)
  best_C = np.argmin(loss_SxC, axis=0)
  return params_S[best_C], np.min(loss_SxC, axis=0)
