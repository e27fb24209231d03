"""How many breaks a curve has, by forecasts of its own later points."""

from collections.abc import Sequence

import numpy as np

from configs.errors import UserError
from scaling.estimate import Problem, estimate
from scaling.laws.broken import BROKEN, Broken
from scaling.objective import Objective
from scaling.points import Points

_CUTS = 8  # that forecasts are made from, if there are so many
_LEAST = 2  # cuts, below which forecasts say too little


def select_breaks(points: Points, laws: Sequence[Broken] = BROKEN) -> Broken:
  """The law with as many breaks as fit and forecast better.

  A break is added as long as it lowers the sum of two logs of a mean square
  error of log values. One is of the fit, with the penalty of the Bayesian
  information criterion (Schwarz 1978): BIC / n. The other is of rolling
  forecasts: the curve is cut at several places from its middle on, each law is
  fitted to what comes before a cut and forecasts all that comes after it.

  Neither is enough alone. BIC takes points for independent; along one training
  run noise is not, and a break that follows it is rewarded. Forecasts punish
  that, but those from cuts before a late break say nothing of it.

  A law is fitted only before cuts that leave one point more than it has
  parameters, and is chosen only if there are two such cuts: with one break nine
  points are needed, with two twelve.

  Args:
    points: of one curve, in any order.
    laws: by rising number of breaks, all in the same column.

  Returns:
    One of `laws`, still to be fitted.

  Raises:
    UserError: an input or a value that is not above 0.
  """
  (x,) = laws[0].inputs
  if not (np.all(points[x] > 0) and np.all(points.value > 0)):
    raise UserError(f'{x} and the value: breaks need numbers above 0')
  points = points.take(np.argsort(points[x], kind='stable'))
  best = laws[0]
  for law in laws[1:]:
    cuts = _cuts(points[x], len(law.params) + 1)
    if len(cuts) < _LEAST:
      break
    if _score(law, points, cuts) >= _score(best, points, cuts):
      break
    best = law
  return best


def _score(law: Broken, points: Points, cuts: np.ndarray) -> float:
  """BIC / n, and the log of the mean square error of the forecasts."""
  rows = np.arange(len(points))
  penalty = len(law.params) * np.log(len(rows)) / len(rows)
  forecasts = [
    _errors(law, points.take(rows[:cut]), points.take(rows[cut:]))
    for cut in cuts
  ]
  return (
    _log_mean_square(_errors(law, points, points))
    + penalty
    + _log_mean_square(np.concatenate(forecasts))
  )


def _cuts(x_M: np.ndarray, least: int) -> np.ndarray:
  """How many points come before each cut, spread evenly."""
  (steps,) = np.nonzero(np.diff(x_M) > 0)
  cuts = steps[steps + 1 >= max(least, len(x_M) / 2)] + 1
  if len(cuts) > _CUTS:
    cuts = cuts[np.linspace(0, len(cuts) - 1, _CUTS).round().astype(int)]
  return cuts


def _errors(law: Broken, fitted: Points, asked: Points) -> np.ndarray:
  """Log errors at some points of the law fitted to others."""
  weight_M = np.ones(len(fitted))
  problem = Problem(law, fitted, Objective(law.delta), law.space, weight_M, {})
  params_P = estimate(problem).params
  return np.log(law.predict(params_P, asked.columns) / asked.value)


def _log_mean_square(errors: np.ndarray) -> float:
  # The least number keeps the log of a law that is met exactly finite.
  return float(np.log(np.mean(errors**2) + np.finfo(np.float64).tiny))
