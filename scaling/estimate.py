"""The optimum of a law on some points, and again with other data."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from scaling import solve
from scaling.law import Law
from scaling.objective import Objective, cost
from scaling.points import Points

_STARTS = 16
_SMOOTH = 0.01  # a Huber delta that any start can descend from


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """A law, the points it is to meet, and what a miss costs."""

  law: Law
  points: Points
  objective: Objective
  space: str  # of the residuals, 'log' or 'linear'
  weight_M: np.ndarray
  fixed: Mapping[str, float]  # parameters of the paper that are not sought

  @property
  def free(self) -> int:
    """How many parameters are sought."""
    return len(self.law.params) - len(self.fixed)

  @property
  def units(self) -> dict[str, float]:
    return self.law.units(self.points.columns, self.points.value)

  def scaled(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and values in the law's own units."""
    units = self.units
    x = {name: self.points[name] / units[name] for name in self.law.inputs}
    return x, self.points.value / units['value']

  def bounds(self) -> tuple[np.ndarray, np.ndarray]:
    """Of theta."""
    return self.law.bounds(*self.scaled())


class Estimate(NamedTuple):
  """An optimum, by the law's own parameters and by those of its paper."""

  theta: np.ndarray  # [P]
  params: np.ndarray  # [P]
  objective: float
  converged: bool


class Refits(NamedTuple):
  """Optima for other values or weights of the same points."""

  params: np.ndarray  # [R, P]
  objective: np.ndarray  # [R]
  converged: np.ndarray  # [R]


def estimate(problem: Problem) -> Estimate:
  """The global optimum of the objective within the law's bounds.

  The law's candidates, mostly by variable projection, are ranked by the
  objective; the best few are descended from.
  """
  law, space = problem.law, problem.space
  bounds = problem.bounds()
  # Nearly least absolute deviations are reached in decades: each optimum is a
  # start for the next, whose objective is nearly flat between its kinks.
  path = [problem.objective.delta]
  while path[0] * 10 < _SMOOTH:
    path.insert(0, path[0] * 10)
  start = guesses(problem, path[0])[:_STARTS]
  for delta in path:
    data = _problems(problem, len(start), delta=delta)
    held = _held(problem, len(start))
    found = solve.minimize(law, space, start, bounds, data, held)
    start = found.theta
  ends = np.where(np.isfinite(found.objective), found.objective, np.inf)
  best = int(np.argmin(ends))
  return Estimate(
    found.theta[best],
    law.natural(found.theta[best], problem.units),
    float(found.objective[best]),
    bool(found.converged[best]),
  )


def natural_range(
  problem: Problem, found: Estimate, name: str
) -> tuple[float, float]:
  """The least and largest value of a parameter of the paper that is sought.

  That of a magnitude is the one at the optimum's exponents.
  """
  here = np.array(problem.law.params) == name
  ends = [
    problem.law.natural(np.where(here, e, found.theta), problem.units)[here][0]
    for e in problem.bounds()
  ]
  return float(min(ends)), float(max(ends))


def guesses(problem: Problem, delta: float) -> np.ndarray:
  """First guesses of theta, [G, P], the best by the objective first."""
  law = problem.law
  x, y = problem.scaled()
  found = np.clip(law.candidates(x, y), *problem.bounds())
  # With parameters fixed, guesses that differ in these alone are one.
  theta_GxP = np.unique(_fix(problem, found), axis=0)
  off_GxM = solve.residuals(law, problem.space, theta_GxP, x, y)
  cost_GxM = cost(off_GxM, delta, problem.objective.quantile)
  return theta_GxP[np.argsort(np.sum(problem.weight_M * cost_GxM, axis=1))]


def refit(
  problem: Problem,
  theta_P: np.ndarray,
  *,
  value_RxM: np.ndarray | None = None,
  weight_RxM: np.ndarray | None = None,
  bounds: tuple[np.ndarray, np.ndarray] | None = None,
  fixed: Mapping[str, np.ndarray] | None = None,
) -> Refits:
  """The optimum nearest to `theta_P` for each row of other data.

  Args:
    problem: whose points give all that is not told here.
    theta_P: the start, one for all or one a row: the optimum of `problem`.
    value_RxM: values.
    weight_RxM: how often each point counts, on top of the problem's weights.
    bounds: of theta in place of the law's, [R, P].
    fixed: parameters of the paper held at values [R], on top of the problem's.
  """
  law, units = problem.law, problem.units
  given = [value_RxM, weight_RxM, *(bounds or ()), *(fixed or {}).values()]
  count = max(len(g) for g in given if g is not None)
  data = _problems(problem, count, delta=problem.objective.delta)
  if value_RxM is not None:
    data = data._replace(y=value_RxM / units['value'])
  if weight_RxM is not None:
    data = data._replace(weight=weight_RxM * problem.weight_M)
  found = solve.minimize(
    law,
    problem.space,
    np.broadcast_to(theta_P, (count, len(law.params))),
    bounds or problem.bounds(),
    data,
    _held(problem, count, fixed or {}),
  )
  return Refits(
    law.natural(found.theta, units), found.objective, found.converged
  )


def _fix(problem: Problem, theta_GxP: np.ndarray) -> np.ndarray:
  """First guesses with the fixed parameters at their values."""
  if not problem.fixed:
    return theta_GxP
  law, units = problem.law, problem.units
  mask = np.array([name in problem.fixed for name in law.params])
  params = np.array([problem.fixed.get(name, 1.0) for name in law.params])
  moved = np.where(mask, params, law.natural(theta_GxP, units))
  return np.where(mask, law.scaled(moved, units), theta_GxP)


def _problems(problem: Problem, count: int, *, delta: float) -> solve.Problems:
  """The points of a problem, `count` times."""
  x, y = problem.scaled()

  def rows(column: np.ndarray) -> np.ndarray:
    return np.broadcast_to(column, (count, *np.shape(column)))

  return solve.Problems(
    {name: rows(column) for name, column in x.items()},
    rows(y),
    rows(problem.weight_M),
    np.full(count, delta),
    np.full(count, problem.objective.quantile),
  )


def _held(
  problem: Problem, count: int, more: Mapping[str, np.ndarray] | None = None
) -> solve.Held | None:
  fixed: dict[str, Any] = {**problem.fixed, **(more or {})}
  if not fixed:
    return None
  names = problem.law.params
  return solve.Held(
    np.tile([name in fixed for name in names], (count, 1)),
    np.stack(
      [np.broadcast_to(fixed.get(n, 1.0), count) for n in names], axis=-1
    ),
    {name: np.full(count, unit) for name, unit in problem.units.items()},
  )
