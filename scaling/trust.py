"""Reasons not to trust a fit, as lines of text."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from scaling.law import Estimate, Law
from scaling.points import Points

ENOUGH = 2  # points for each parameter, below which no interval is given
_ROUNDING = 1e-16  # objective of a point that the law meets exactly
FAILED = 0.01  # share of refits that may fail before it is worth a word
_OUTLIER = 0.01  # chance that any point of a sound set is called an outlier


def enough_points(law: Law, rungs: Points) -> bool:
  """Whether there are points enough for an interval."""
  return len(rungs) >= ENOUGH * len(law.PARAMS)


def fit_warnings(
  law: Law,
  rungs: Points,
  estimate: Estimate,
  delta: float,
  intervals: Mapping[str, tuple[float, float]],
  failed: float,
) -> list[str]:
  """All that speaks against a fit.

  Too few points, an optimum not reached or at the edge of what is sought, a
  parameter that the data leave open (an interval wider than its value), refits
  that failed, repeated rows, and runs that alone decide a parameter.

  Args:
    law: what was fitted.
    rungs: the points it was fitted to.
    estimate: the fit.
    delta: Huber's.
    intervals: of the parameters, by name; empty if there are none.
    failed: share of bootstrap refits that did not converge.
  """
  count, needed = len(rungs), ENOUGH * len(law.PARAMS)
  said = []
  if count < needed:
    said.append(
      f'{count} points for {len(law.PARAMS)} parameters: no interval; '
      f'{needed} points are the least for one'
    )
  if not estimate.converged:
    said.append('the fit did not converge: its parameters are not an optimum')
  said += law.bounds_met(estimate.params, rungs)
  for name, value in zip(law.PARAMS, estimate.params, strict=True):
    low, high = intervals.get(name, (value, value))
    # A and B are known by their order of magnitude only, even in good fits.
    if name not in ('A', 'B') and high - low > value:
      said.append(
        f'{name} = {value:.3g} is open: its interval {low:.3g} to {high:.3g} '
        'is wider than itself'
      )
  if failed > FAILED:
    said.append(f'{failed:.1%} of the bootstrap refits failed; left out')
  repeats = count - len(
    set(zip(rungs.params, rungs.tokens, rungs.seed, rungs.value, strict=True))
  )
  if repeats:
    said.append(f'rows that repeat another row and count twice: {repeats}')
  if count > len(law.PARAMS) + 1:
    said += _influence(law, rungs, estimate, delta, intervals)
  return said


def _influence(
  law: Law,
  rungs: Points,
  estimate: Estimate,
  delta: float,
  intervals: Mapping[str, tuple[float, float]],
) -> list[str]:
  """Runs without which a parameter leaves its interval or the fit improves.

  An outlier is a run whose removal lowers the objective by more than chance
  would at any of the runs: the externally studentized residual with
  Bonferroni's correction (Cook and Weisberg 1982, Residuals and Influence,
  section 2.2.2), in terms of the share of the sum of squares.
  """
  count, freedom = len(rungs), len(rungs) - len(law.PARAMS)
  if estimate.objective / count < _ROUNDING:
    return []
  value_MxM = np.broadcast_to(rungs.value, (count, count))
  without = law.refit(rungs, estimate, delta, value_MxM, 1 - np.eye(count))
  said = []
  for column, name in enumerate(law.PARAMS):
    if name not in intervals:
      continue
    low, high = intervals[name]
    found_M = without.params[:, column]
    distance_M = np.abs(found_M - estimate.params[column])
    row = int(np.argmax(distance_M))
    if not low <= found_M[row] <= high:
      said.append(
        f'{_run(rungs, row)} alone moves {name} from '
        f'{estimate.params[column]:.3g} to {found_M[row]:.3g}, '
        'out of its interval'
      )
  quantile = stats.t.isf(_OUTLIER / (2 * count), freedom - 1)
  share = quantile**2 / (quantile**2 + freedom - 1)
  fallen_M = 1 - without.objective / estimate.objective
  return said + [
    f'{_run(rungs, row)} is an outlier: without it the objective is '
    f'{fallen_M[row]:.0%} lower'
    for row in np.flatnonzero(fallen_M > share).tolist()
  ]


def _run(points: Points, row: int) -> str:
  name = points.size[row] or f'N = {points.params[row]:.3g}'
  return f'{name} at {points.tokens[row]:.3g} tokens'
