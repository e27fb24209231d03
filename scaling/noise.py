"""How far runs scatter about a law, and how sure that is."""

import dataclasses

import numpy as np

from scaling.estimate import Problem
from scaling.points import Rungs


@dataclasses.dataclass(frozen=True)
class Noise:
  """Scatter of a point of weight one, in the space of the residuals.

  `floor` is what the points are known to scatter by at least, from seeds or
  items; `floor_freedom` the degrees of freedom behind it, infinite for items.
  """

  variance: float  # the larger of residual and floor
  residual: float  # RSS / (n - p)
  freedom: int  # n - p
  floor: float
  floor_freedom: float
  items: float  # part of the variance that a new run's own items replace

  def draw(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Standard deviations, scaled inverse chi-squared."""
    freedom = float(self.freedom)
    if self.floor > self.residual:
      freedom = max(freedom, min(self.floor_freedom, 1e9))
    unit = freedom / rng.chisquare(freedom, resamples)
    return np.sqrt(np.maximum(self.variance * unit, self.items))

  def beyond_items(self, deviation_R: np.ndarray) -> np.ndarray:
    """The scatter of a new run but for the sampling of its items."""
    return np.sqrt(np.maximum(deviation_R**2 - self.items, 0.0))


def measured(problem: Problem, fitted_M: np.ndarray, rungs: Rungs) -> Noise:
  """The noise of points about their law.

  Args:
    problem: what was fitted, with more points than parameters.
    fitted_M: the values it gives the points.
    rungs: the points with the scatter between seeds.
  """
  points = problem.points
  off_M = deviations(problem.space, points.value, fitted_M)
  freedom = len(points) - problem.free
  residual = float(np.sum(problem.weight_M * off_M**2) / freedom)
  floor, floor_freedom, items = rungs.variance, float(rungs.freedom), 0.0
  if problem.law.items and np.all(points.stderr > 0):
    items = float(np.median(points.stderr) ** 2)
    if items >= floor:
      floor, floor_freedom = items, np.inf
  return Noise(
    max(residual, floor), residual, freedom, floor, floor_freedom, items
  )


def weights(rungs: Rungs, misfit: float) -> np.ndarray:
  """Of rungs that are means of several runs, one run counting one.

  A rung of k runs scatters by misfit + seeds / k: what the law leaves out does
  not average away.

  Args:
    rungs: with the variance between seeds.
    misfit: variance of rungs about the law beyond that of seeds.
  """
  return (misfit + rungs.variance) / (misfit + rungs.variance / rungs.runs)


def item_weights(stderr_M: np.ndarray) -> np.ndarray:
  """Of scores with standard errors: inverse variances, the median one."""
  return np.median(stderr_M) ** 2 / stderr_M**2


def deviations(space: str, value: np.ndarray, fitted: np.ndarray) -> np.ndarray:
  """How far values lie above a law, in the space of the residuals."""
  return np.log(value / fitted) if space == 'log' else value - fitted


def shifted(space: str, value: np.ndarray, shift: np.ndarray) -> np.ndarray:
  """Values moved by deviations."""
  return value * np.exp(shift) if space == 'log' else value + shift
