"""Compute-optimal sizes from the envelope of training curves: approach one.

Hoffmann et al. 2022, arXiv:2203.15556, section 3.1: of all checkpoints of all
runs, those with the least loss for their FLOPs are compute-optimal, and

  N* = G C^a,   D* = H C^b

through them. Here they are the corners of the lower convex hull in (log C,
log L). A straight line that no checkpoint lies below touches a run where it is
as steep as the frontier, so that a hull finds points of the frontier itself;
taking the best run at each of many budgets finds steps of a staircase instead,
and the same size for a whole range of budgets. A frontier E + k C^-c is convex
in these logs for any E. A hull picks lucky checkpoints, though: smooth curves
of training loss first. And a checkpoint before its learning rate has decayed is
not what a run of that length would have reached.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import UserError
from scaling.allocation import (
  AXES,
  Allocation,
  Optima,
  allocation,
  power_laws,
  with_both,
)
from scaling.intervals import check_level
from scaling.points import Points


def fit_envelope(
  data: Points | Mapping[str, Any],
  *,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Allocation:
  """Fits N* = G C^a and D* = H C^b to the lower envelope of training curves.

  Corners of the hull that belong to the smallest or largest size, and its two
  ends, are dropped: nothing was run beyond them that could be better. Intervals
  are of a bootstrap over runs, each with all its checkpoints. It is a rough
  one: a draw lacks a third of the runs, and an envelope gains nothing from
  those that are drawn twice.

  Args:
    data: points, or columns by name: one checkpoint a row, with `flops`,
      `loss`, and `params` or `tokens` or both; one that is absent is C / 6 over
      the other. Rows of one params, seed and size (a name) are one run.
    resamples: of the bootstrap.
    level: of the intervals.
    seed: of the bootstrap.

  Returns:
    The laws with the corners; `without` leaves out one size at a time.

  Raises:
    UserError: a column missing, or fewer than two sizes at the corners that are
      left.
  """
  check_level(level)
  points = with_both(data)
  N_M = points['params']
  log_2xM = np.log([points['flops'], points.value])
  keys = zip(N_M, points.seed, points.size, strict=True)
  number: dict[tuple[float, float, str], int] = {}
  run_M = np.array([number.setdefault(key, len(number)) for key in keys])
  # The hull of all runs is that of the runs' own hulls.
  kept = np.concatenate(
    [
      rows[_hull(*log_2xM[:, rows])]
      for rows in (np.flatnonzero(run_M == run) for run in number.values())
    ]
  )

  def corners(rows: np.ndarray) -> np.ndarray:
    """Rows of the hull of some rows, less those at its edges."""
    hull = rows[_hull(*log_2xM[:, rows])][1:-1]
    inside = (N_M[hull] > np.min(N_M[rows])) & (N_M[hull] < np.max(N_M[rows]))
    return hull[inside]

  def law(rows: np.ndarray) -> np.ndarray:
    """The parameters through the corners of some rows, NaN of one size."""
    found = corners(rows)
    if len(np.unique(N_M[found])) < 2:
      return np.full(4, np.nan)
    logs = np.log([points[name][found] for name in AXES])
    return power_laws(log_2xM[0, found], logs, np.ones_like(logs))

  best = corners(kept)
  sizes = np.unique(N_M[best])
  if len(sizes) < 2:
    raise UserError(
      f'{len(sizes)} sizes on the envelope between the smallest and the '
      'largest, of two that are the least: add sizes, or checkpoints of them'
    )
  rng = np.random.default_rng(seed)
  drawn_RxL = rng.multinomial(
    len(number), np.full(len(number), 1 / len(number)), resamples
  )
  none = np.zeros(len(best))
  return allocation(
    'envelope',
    Optima(
      points['flops'][best],
      N_M[best],
      points['tokens'][best],
      points.value[best],
      none,
      none,
    ),
    np.ones((2, len(best))),
    samples=np.array([law(kept[c[run_M[kept]] > 0]) for c in drawn_RxL]),
    spread=1.0,
    without=np.array([law(kept[N_M[kept] != size]) for size in sizes]),
    parts=[f'N = {size:.3g}' for size in sizes],
    conventions=points.conventions
    | {
      'envelope': f'{len(best)} corners of {len(number)} runs',
      'bootstrap': 'runs',
    },
    warnings=[],
    level=level,
  )


def _hull(x_M: np.ndarray, y_M: np.ndarray) -> np.ndarray:
  """Corners of the lower convex hull, from the left to the lowest.

  Andrew 1979, Information Processing Letters 9(5): monotone chains.
  """
  corners: list[int] = []
  for row in np.lexsort((y_M, x_M)).tolist():
    while len(corners) > 1:
      first, last = corners[-2:]
      rise = (y_M[last] - y_M[first]) * (x_M[row] - x_M[first])
      if rise < (y_M[row] - y_M[first]) * (x_M[last] - x_M[first]):
        break
      corners.pop()
    corners.append(row)
  return np.array(corners[: int(np.argmin(y_M[corners])) + 1])
