"""Reasons not to trust a fit, as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from scaling import solve
from scaling.estimate import Estimate, Problem, Refits, refit
from scaling.objective import influence as pull_of
from scaling.points import Points

ENOUGH = 2  # points for each parameter, below which no interval is given
FAILED = 0.01  # share of refits that may fail before it is worth a word
ROUNDING = 1e-16  # objective of a point that the law meets exactly
_OUTLIER = 0.01  # chance that any point of a sound set is called an outlier
_EDGE = 1e-3  # share of a range that counts as its edge


class Influence(NamedTuple):
  """What each run does to a fit."""

  runs: tuple[str, ...]  # names of the M runs
  params: np.ndarray  # [M, P], fitted without each; NaN: it did not converge
  fall: np.ndarray  # [M], share of the objective that goes with each

  def rows(self, names: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """One run each as plain data, with the parameters' names."""
    return tuple(
      {
        'run': run,
        'fall': float(fall),
        'params': dict(zip(names, params.tolist(), strict=True)),
      }
      for run, params, fall in zip(
        self.runs, self.params, self.fall, strict=True
      )
      if np.isfinite(fall)
    )


def enough_points(problem: Problem) -> bool:
  """Whether there are points enough for an interval."""
  return len(problem.points) >= ENOUGH * problem.free


def without_each(problem: Problem, found: Estimate) -> Influence:
  """Fits without each run in turn: the jackknife."""
  points = problem.points
  refits = refit(problem, found.theta, weight_RxM=1 - np.eye(len(points)))
  good_M = refits.converged
  return Influence(
    tuple(_run(points, row) for row in range(len(points))),
    np.where(good_M[:, None], refits.params, np.nan),
    np.where(
      good_M, 1 - refits.objective / max(found.objective, 1e-300), np.nan
    ),
  )


def at_bounds(problem: Problem, found: Estimate) -> dict[str, str]:
  """Parameters at the edge of what is sought, each with its reason."""
  law = problem.law
  lower_P, upper_P = problem.bounds()
  gone = law.vanished(found.theta, *problem.scaled())
  said = {n: f'{n} -> 0: the data do not need this term' for n in gone}
  for column, name in enumerate(law.params):
    low, high = lower_P[column], upper_P[column]
    share = (found.theta[column] - low) / (high - low)
    # A lower bound of zero is a term that vanishes, if it is there at all.
    edges = (share < _EDGE and low != 0) or share > 1 - _EDGE
    if edges and name not in said and name not in problem.fixed:
      said[name] = (
        f'{name} = {found.params[column]:.3g} is at the edge of what is sought'
      )
  return said


def open_sides(
  problem: Problem, found: Estimate, level: float
) -> dict[str, str]:
  """Parameters whose profile is flat: the data allow the bound of the search.

  With a parameter held at its bound and the others refitted, the objective
  rises by less than the likelihood ratio of `level` asks for.
  """
  law = problem.law
  lower_P, upper_P = problem.bounds()
  rows = [
    (name, column, side, edge)
    for column, name in enumerate(law.params)
    if name not in problem.fixed
    for side, edge in (('below', lower_P), ('above', upper_P))
    if edge[column] != 0 or side == 'above'
  ]
  low_RxP, high_RxP = (np.tile(b, (len(rows), 1)) for b in (lower_P, upper_P))
  for row, (_, column, _, edge) in enumerate(rows):
    low_RxP[row, column] = high_RxP[row, column] = edge[column]
  refits = refit(problem, found.theta, bounds=(low_RxP, high_RxP))
  statistic_R = likelihood_ratio(problem, found, refits)
  needed = threshold(problem, level)
  return {
    name: f'{name} = {found.params[column]:.3g} is open {side}: its profile is '
    'flat up to the bound of the search'
    for (name, column, side, _), statistic in zip(
      rows, statistic_R, strict=True
    )
    if statistic < needed
  }


def likelihood_ratio(
  problem: Problem, found: Estimate, refits: Refits
) -> np.ndarray:
  """Twice the rise of the objective over the scale of its pulls, [R].

  For least squares this is (RSS_R - RSS) / s^2 with s^2 = RSS / (n - p), to be
  held against `threshold`; for other objectives it is the
  likelihood-ratio-type statistic of robust M-estimation (Hampel et al. 1986,
  Robust Statistics, section 7.2), scale = sum psi^2 / (n - p) / mean psi'.
  """
  objective, law = problem.objective, problem.law
  x, y = problem.scaled()
  off_M = solve.residuals(law, problem.space, found.theta, x, y)
  pull_M = pull_of(off_M, objective.delta, objective.quantile)
  weight_M = problem.weight_M
  freedom = len(problem.points) - problem.free
  scale = np.sum(weight_M * pull_M**2) / max(freedom, 1)
  # psi' is the side's weight inside delta and nothing outside it.
  tau = objective.quantile
  side_M = 2 * np.where(off_M > 0, 1 - tau, tau)
  inside = np.mean(side_M * (np.abs(off_M) < objective.delta))
  rise_R = refits.objective - found.objective
  return 2 * rise_R * max(inside, 1 / len(off_M)) / max(scale, 1e-300)


def threshold(problem: Problem, level: float) -> float:
  """The quantile of F(1, n - p) that `likelihood_ratio` is held against.

  Exact for least squares of a linear law (Bates and Watts 1988, Nonlinear
  Regression Analysis, section 6.1.2).
  """
  freedom = len(problem.points) - problem.free
  return float(stats.f.ppf(level, 1, freedom))


def condition(problem: Problem, found: Estimate) -> float:
  """Of the Jacobian of the residuals, its columns scaled to unit length.

  Above 30 parameters are collinear: Belsley, Kuh and Welsch 1980, Regression
  Diagnostics.
  """
  names = problem.law.params
  sought = [name not in problem.fixed for name in names]
  jacobian_MxP = solve.jacobian(
    problem.law, problem.space, found.theta, *problem.scaled()
  )[:, sought]
  length_P = np.linalg.norm(jacobian_MxP, axis=0)
  if not np.all(np.isfinite(length_P) & (length_P > 0)):
    return np.inf
  return float(np.linalg.cond(jacobian_MxP / length_P))


def fit_warnings(
  problem: Problem,
  found: Estimate,
  intervals: Mapping[str, tuple[float, float]],
  influence: Influence | None,
  failed: float,
) -> list[str]:
  """All that speaks against a fit but for bounds and flat profiles.

  Too few points, an optimum not reached, a parameter whose interval is wider
  than itself, refits that failed, repeated rows, and runs that alone decide.

  Args:
    problem: what was fitted.
    found: the fit.
    intervals: of the parameters, by name; empty if there are none.
    influence: of each run; None with too few points for it.
    failed: share of bootstrap refits that did not converge.
  """
  law, points = problem.law, problem.points
  count, needed = len(points), ENOUGH * problem.free
  said = []
  if count < needed:
    said.append(
      f'{count} points for {problem.free} parameters: no interval; '
      f'{needed} points are the least for one'
    )
  if not found.converged:
    said.append('the fit did not converge: its parameters are not an optimum')
  for name, value in zip(law.params, found.params, strict=True):
    low, high = intervals.get(name, (value, value))
    if name not in law.magnitudes and high - low > abs(value):
      said.append(
        f'{name} = {value:.3g} is open: its interval {low:.3g} to {high:.3g} '
        'is wider than itself'
      )
  if failed > FAILED:
    said.append(f'{failed:.1%} of the bootstrap refits failed; left out')
  repeats = count - len(set(_rows(law.inputs, points)))
  if repeats:
    said.append(f'rows that repeat another row and count twice: {repeats}')
  if influence is not None:
    said += _decisive(problem, found, intervals, influence)
  return said


def _rows(inputs: Sequence[str], points: Points) -> list[tuple[float, ...]]:
  columns = [*(points[name] for name in inputs), points.seed, points.value]
  return list(zip(*columns, strict=True))


def _decisive(
  problem: Problem,
  found: Estimate,
  intervals: Mapping[str, tuple[float, float]],
  influence: Influence,
) -> list[str]:
  """Runs without which a parameter leaves its interval or the fit improves.

  An outlier is a run whose removal lowers the objective by more than chance
  would at any of the runs: the externally studentized residual with
  Bonferroni's correction (Cook and Weisberg 1982, Residuals and Influence,
  section 2.2.2), in terms of the share of the sum of squares.
  """
  count = len(problem.points)
  freedom = count - problem.free
  if found.objective / count < ROUNDING:
    return []
  said = []
  for column, name in enumerate(problem.law.params):
    if name not in intervals:
      continue
    low, high = intervals[name]
    found_M = influence.params[:, column]
    away_M = np.abs(found_M - found.params[column])
    row = int(np.argmax(np.nan_to_num(away_M)))
    if not low <= found_M[row] <= high:
      said.append(
        f'{influence.runs[row]} alone moves {name} from '
        f'{found.params[column]:.3g} to {found_M[row]:.3g}, '
        'out of its interval'
      )
  quantile = stats.t.isf(_OUTLIER / (2 * count), freedom - 1)
  share = quantile**2 / (quantile**2 + freedom - 1)
  return said + [
    f'{influence.runs[row]} is an outlier: without it the objective is '
    f'{influence.fall[row]:.0%} lower'
    for row in np.flatnonzero(influence.fall > share).tolist()
  ]


def _run(points: Points, row: int) -> str:
  if 'params' not in points.columns or 'tokens' not in points.columns:
    return points.size[row] or f'run {row + 1}'
  name = points.size[row] or f'N = {points["params"][row]:.3g}'
  return f'{name} at {points["tokens"][row]:.3g} tokens'
