"""A law at its optimum on some points, ready to be resampled."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import UserError, choose
from scaling import bootstrap, table, trust
from scaling.estimate import Estimate, Problem, estimate, natural_range
from scaling.law import Law
from scaling.laws import known_law
from scaling.noise import Noise, item_weights, measured, weights
from scaling.objective import Objective
from scaling.points import Points, Rungs, average_seeds

RESAMPLING = ('auto', 'noise', 'pairs', 'hierarchical')
_SAME = 1e-6  # of the log of an input, that is no variation
_MANY = 20  # points for each parameter, from which runs may be drawn as pairs


@dataclasses.dataclass(frozen=True, eq=False)
class Ready:
  """A law at its optimum; what it was fitted to, and how to draw that again."""

  problem: Problem
  found: Estimate
  rungs: Rungs
  resampling: str  # noise | pairs | hierarchical

  @property
  def fitted(self) -> np.ndarray:
    """The values that the law gives the points, [M]."""
    return self.problem.law.predict(
      self.found.params, self.problem.points.columns
    )

  @property
  def noise(self) -> Noise:
    return measured(self.problem, self.fitted, self.rungs)

  def draws(self, resamples: int, rng: np.random.Generator) -> bootstrap.Draws:
    """Resampled values and weights; none with too few points."""
    if not trust.enough_points(self.problem):
      none = np.empty((0, len(self.problem.points)))
      return bootstrap.Draws(none, none, np.empty(0), np.empty(0))
    if self.resampling == 'pairs':
      return bootstrap.pairs_draws(self.problem, self.noise, resamples, rng)
    if self.resampling == 'hierarchical':
      return bootstrap.hierarchical_draws(
        self.problem, self.rungs, self.noise, resamples, rng
      )
    return bootstrap.noise_draws(
      self.problem, self.fitted, self.noise, resamples, rng
    )


def prepare(
  data: Points | Mapping[str, Any],
  law: str | Law,
  *,
  delta: float | None = None,
  quantile: float = 0.5,
  space: str | None = None,
  fixed: Mapping[str, float] | None = None,
  resampling: str = 'auto',
) -> Ready:
  """Averages seeds, weighs, finds the optimum; arguments as `fit_law`."""
  choose('resampling', resampling, RESAMPLING)
  form = known_law(law) if isinstance(law, str) else law
  points = data
  if not isinstance(points, Points):
    if not hasattr(points, 'items'):
      raise UserError(
        f'data: a {type(data).__name__}; expected columns by name, or Points'
      )
    points = table.from_columns(points, form.inputs, form.value)
  space = space or form.space
  choose('space', space, ('log', 'linear'))
  _check_numbers(form, points, space)
  rungs = average_seeds(points, form.inputs, space)
  problem = Problem(
    law=form,
    points=rungs.points,
    objective=Objective(form.delta if delta is None else delta, quantile),
    space=space,
    weight_M=np.ones(len(rungs.points)),
    fixed=dict(fixed or {}),
  )
  _check(problem)
  problem, found = _weighted(problem, rungs)
  _check_fixed(problem, found)
  if quantile != 0.5:
    # Simulated noise lies about the middle, not about a quantile.
    if resampling == 'noise':
      raise UserError(
        f'resampling = noise: for quantile = {quantile} take pairs'
      )
    resampling = 'pairs' if resampling == 'auto' else resampling
  if resampling == 'auto':
    many = len(rungs.points) >= _MANY * problem.free
    resampling = 'pairs' if many else 'noise'
  return Ready(problem, found, rungs, resampling)


def _weighted(problem: Problem, rungs: Rungs) -> tuple[Problem, Estimate]:
  """The problem with weights by noise, and its optimum."""
  points = problem.points
  if problem.law.items and np.all(points.stderr > 0):
    weight_M = item_weights(points.stderr)
    problem = dataclasses.replace(problem, weight_M=weight_M)
    return problem, estimate(problem)
  found = estimate(problem)
  if np.all(rungs.runs == 1) or len(points) <= problem.free:
    return problem, found
  fitted_M = problem.law.predict(found.params, points.columns)
  about = measured(problem, fitted_M, rungs)
  seeds = rungs.variance * float(np.mean(1 / rungs.runs))
  misfit = max(about.residual - seeds, 0.0)
  if not misfit + rungs.variance > 0:
    return problem, found
  weight_M = weights(rungs, misfit)
  problem = dataclasses.replace(problem, weight_M=weight_M)
  return problem, estimate(problem)


def _check_numbers(law: Law, points: Points, space: str) -> None:
  absent = [name for name in law.inputs if name not in points.columns]
  if absent:
    raise UserError(f'{law.name} needs a column {", ".join(absent)}')
  if law.items and not np.all((points.value >= 0) & (points.value <= 1)):
    raise UserError(f'{law.value}: expected shares from 0 to 1, not per cent')
  columns = {name: points[name] for name in law.inputs}
  if space == 'log':
    columns['value'] = points.value
  for name, column in columns.items():
    if not np.all(np.isfinite(column) & (column > 0)):
      raise UserError(f'{name}: a law needs finite numbers above 0')


def _check(problem: Problem) -> None:
  law, points = problem.law, problem.points
  unknown = [name for name in problem.fixed if name not in law.params]
  if unknown:
    raise UserError(
      f'fixed = {unknown[0]}: {law.name} has {", ".join(law.params)}'
    )
  if problem.free < 1:
    raise UserError(f'fixed: all parameters of {law.name}; leave one free')
  if len(points) < problem.free:
    raise UserError(
      f'{len(points)} points for the {problem.free} parameters of '
      f'{law.name}: add runs'
    )
  for name in law.inputs:
    if np.ptp(np.log(points[name])) < _SAME:
      raise UserError(
        f'{name} is the same in all runs: a law in it needs it to vary'
      )


def _check_fixed(problem: Problem, found: Estimate) -> None:
  for name, value in problem.fixed.items():
    low, high = natural_range(problem, found, name)
    if not low <= value <= high:
      raise UserError(
        f'fixed {name} = {value}: expected {low:.4g} to {high:.4g}'
      )
