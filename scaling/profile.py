"""The profile likelihood of one parameter, and the interval it gives."""

import dataclasses
from typing import NamedTuple

import numpy as np

from configs.errors import UserError
from scaling import trust
from scaling.estimate import (
  Estimate,
  Problem,
  guesses,
  natural_range,
  refit,
)
from scaling.intervals import check_level
from scaling.ready import Ready

_POINTS = 25  # of the curve, in each pass
_PASSES = 3  # about the interval, each nearer
_REACH = 30.0  # factor about the estimate that the first pass looks at
_BEYOND = 1.3  # of the interval, that a nearer pass spans


class Profile(NamedTuple):
  """How much worse a law fits with a parameter held at other values."""

  values: np.ndarray  # [V], rising
  statistic: np.ndarray  # [V], likelihood ratio; 0 at the optimum
  threshold: float  # beyond which a value is outside the interval
  lower: float | None  # None: open, the data allow whatever was looked at
  upper: float | None


def profile(ready: Ready, name: str, *, level: float = 0.9) -> Profile:
  """Holds one parameter at each of many values and refits all others.

  The interval holds the values whose statistic, (S(value) - S) / s^2 for least
  squares, is below the quantile of F(1, n - p) (Bates and Watts 1988, Nonlinear
  Regression Analysis, section 6.1.2): exact in a linear law, and with the shape
  of the likelihood in others. See `scaling.trust.likelihood_ratio` for other
  objectives.

  Args:
    ready: of `scaling.ready.prepare`.
    name: of a parameter that is sought.
    level: of the interval.

  Raises:
    UserError: no such parameter, or too few points for an interval.
  """
  check_level(level)
  problem, found = ready.problem, ready.found
  names = [n for n in problem.law.params if n not in problem.fixed]
  if name not in names:
    raise UserError(f'no parameter {name!r}: choose from {", ".join(names)}')
  if not trust.enough_points(problem):
    raise UserError(
      f'{len(problem.points)} points for {problem.free} parameters: too few '
      'for an interval'
    )
  centre = found.params[problem.law.params.index(name)]
  threshold = trust.threshold(problem, level)

  def statistic(values_V: np.ndarray) -> np.ndarray:
    held = {name: values_V}
    near = refit(problem, found.theta, fixed=held)
    # Far from the optimum a refit that starts there may be stuck.
    guess_VxP = np.stack([_guess(problem, name, value) for value in values_V])
    far = refit(problem, guess_VxP, fixed=held)
    best = near._replace(objective=np.minimum(near.objective, far.objective))
    found_V = trust.likelihood_ratio(problem, found, best)
    return np.where(np.isfinite(found_V), found_V, np.inf)

  values_V = _first(problem, found, name)
  curve_V = statistic(values_V)
  for _ in range(_PASSES):
    low, high = _crossing(values_V, curve_V, threshold)
    # A little beyond both ends, so that they are crossed between near points.
    near_V = np.linspace(
      values_V[0]
      if low is None
      else max(values_V[0], centre + _BEYOND * (low - centre)),
      values_V[-1]
      if high is None
      else min(values_V[-1], centre + _BEYOND * (high - centre)),
      _POINTS,
    )
    curve_V = np.concatenate([curve_V, statistic(near_V)])
    values_V = np.concatenate([values_V, near_V])
    order = np.argsort(values_V, kind='stable')
    values_V, curve_V = values_V[order], curve_V[order]
  low, high = _crossing(values_V, curve_V, threshold)
  return Profile(values_V, curve_V, threshold, low, high)


def _first(problem: Problem, found: Estimate, name: str) -> np.ndarray:
  """Values to look at first, rising: by factors, and across zero.

  They keep to what is sought of the parameter; a magnitude may be any.
  """
  centre = found.params[problem.law.params.index(name)]
  low, high = natural_range(problem, found, name)
  if centre > 0:
    factors = centre * np.geomspace(1 / _REACH, _REACH, 2 * _POINTS - 1)
    if name in problem.law.magnitudes:
      return factors
    inside = factors[(factors > low) & (factors < high)]
    ends = [] if low == 0 else [low]
    if low < 0:
      ends += np.linspace(low, high, _POINTS).tolist()
    return np.unique([*ends, *inside, high])
  return np.unique([centre, *np.linspace(low, high, 2 * _POINTS - 1)])


def _guess(problem: Problem, name: str, value: float) -> np.ndarray:
  """The best first guess with one parameter held."""
  held = dataclasses.replace(problem, fixed={**problem.fixed, name: value})
  return guesses(held, problem.objective.delta)[0]


def _crossing(
  values_V: np.ndarray, statistic_V: np.ndarray, threshold: float
) -> tuple[float | None, float | None]:
  """Where the curve leaves the interval about its least value."""
  best = int(np.argmin(statistic_V))
  outside_V = statistic_V > threshold
  ends: list[float | None] = []
  for step in (-1, 1):
    row = best
    while 0 <= row + step < len(values_V) and not outside_V[row + step]:
      row += step
    if not 0 <= row + step < len(values_V):
      ends.append(None)
      continue
    pair = [row, row + step]
    # Near the threshold the root of the statistic is nearly straight.
    roots = np.sqrt(np.maximum(statistic_V[pair], 0))
    share = (np.sqrt(threshold) - roots[0]) / (roots[1] - roots[0])
    ends.append(
      float(values_V[row] + share * (values_V[row + step] - values_V[row]))
    )
  return ends[0], ends[1]
