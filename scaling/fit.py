"""Fits one law: `python -m scaling.fit --records=F --law=L --out=FIT.json`."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from configs import command
from configs.errors import UserError
from configs.files import write_text
from scaling import bootstrap as resampling
from scaling import intervals, noise, source, table, trust
from scaling.estimate import Estimate, Problem, estimate
from scaling.fitted import Fit, domain
from scaling.law import Law
from scaling.laws import LAWS, known_law
from scaling.objective import Objective
from scaling.points import Points, Rungs, average_seeds

RESAMPLING = ('auto', 'noise', 'pairs', 'hierarchical')
INTERVALS = ('percentile', 'bca')
_MANY = 20  # points for each parameter, from which runs may be drawn as pairs


def fit_law(
  data: Points | Mapping[str, Any],
  law: str | Law = 'chinchilla',
  *,
  delta: float | None = None,
  quantile: float = 0.5,
  space: str | None = None,
  fixed: Mapping[str, float] | None = None,
  resampling: str = 'auto',
  interval: str = 'percentile',
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Fit:
  """Fits a law to runs, with intervals and warnings.

  Runs that differ by their seed alone are averaged into one rung; their scatter
  is the least noise that the intervals assume, and decides how much more a rung
  of several runs weighs. Scores weigh by the inverse square of their standard
  errors.

  Args:
    data: points, or columns by name, such as a pandas frame.
    law: a name of `scaling.laws.LAWS`, or a law.
    delta: Huber's; `math.inf` is least squares. Residuals of the log, or those
      relative to the typical value, count squared below it and in proportion
      above. By default the law's own.
    quantile: of the points that shall lie below the law; see
      `scaling.objective`.
    space: of the residuals, 'log' or 'linear'; by default the law's own.
    fixed: parameters, by name, that are given rather than sought.
    resampling: noise | pairs | hierarchical | auto (pairs from 20 points a
      parameter, else noise); see `scaling.bootstrap`.
    interval: percentile | bca, of the parameters.
    resamples: bootstrap refits.
    level: of the intervals.
    seed: of the bootstrap.

  Raises:
    UserError: an unknown name, a level outside (0, 1), fewer points than
      parameters, or points that a law cannot be fitted to.
  """
  intervals.check_level(level)
  _choose('resampling', resampling, RESAMPLING)
  _choose('interval', interval, INTERVALS)
  form = known_law(law) if isinstance(law, str) else law
  points = data
  if not isinstance(points, Points):
    points = table.from_columns(points, form.inputs, form.value)
  space = space or form.space
  _choose('space', space, ('log', 'linear'))
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
  if resampling == 'auto':
    many = len(rungs.points) >= _MANY * problem.free
    resampling = 'pairs' if many else 'noise'
  drawn = _drawn(problem, found, rungs, resampling, resamples, seed)
  influence = None
  if len(rungs.points) > problem.free + 1:
    influence = trust.without_each(problem, found)
  spans = _intervals(found, form, drawn.samples, influence, interval, level)
  edges = trust.at_bounds(problem, found)
  flat = {}
  if len(drawn.samples):
    flat = trust.open_sides(problem, found, level)
  said = trust.fit_warnings(problem, found, spans, influence, drawn.failed)
  params = dict(zip(form.params, found.params.tolist(), strict=True))
  return Fit(
    law=form.name,
    params=params,
    intervals=spans,
    objective=found.objective,
    n=len(rungs.points),
    conventions={
      **points.conventions,
      'objective': problem.objective.describe(space),
      'bootstrap': resampling,
      'interval': interval,
      'seed_noise': _seed_noise(rungs),
    },
    warnings=(
      *said,
      *edges.values(),
      *flat.values(),
      *form.remarks(params, spans, rungs.points),
    ),
    level=level,
    space=space,
    converged=found.converged,
    condition=trust.condition(problem, found),
    at_bounds=tuple(edges),
    flat=tuple(flat),
    domain=domain(
      {
        name: rungs.points[name]
        for name in dict.fromkeys([*form.inputs, *rungs.points.columns])
      }
    ),
    samples=drawn.samples,
    noise=drawn.noise,
  )


def summary(fit: Fit) -> str:
  """A fit in a few lines: parameters, intervals, warnings."""
  lines = [f'{fit.law} fitted to {fit.n} points, objective {fit.objective:.6g}']
  for name, value in fit.params.items():
    low, high = fit.intervals.get(name, (None, None))
    span = '' if low is None else f'  [{low:.5g}, {high:.5g}]'
    lines.append(f'  {name:<6}{value:.5g}{span}')
  lines += [f'warning: {text}' for text in fit.warnings]
  return '\n'.join(lines)


def main(argv: Sequence[str]) -> None:
  """Reads records, fits, writes the fit and prints it."""
  del argv
  args = flags.FLAGS
  law = known_law(args.law)
  points = source.read_points(args.records, law, source.from_flags(args))
  fit = fit_law(points, law)
  write_text(pathlib.Path(args.out), fit.to_json())
  print(summary(fit))


def _weighted(problem: Problem, rungs: Rungs) -> tuple[Problem, Estimate]:
  """The problem with weights by noise, and its optimum."""
  points = problem.points
  if problem.law.items and np.all(points.stderr > 0):
    weight_M = noise.item_weights(points.stderr)
    problem = dataclasses.replace(problem, weight_M=weight_M)
    return problem, estimate(problem)
  found = estimate(problem)
  if np.ptp(rungs.runs) == 0 or len(points) <= problem.free:
    return problem, found
  about = noise.measured(problem, _fitted(problem, found), rungs)
  seeds = rungs.variance * float(np.mean(1 / rungs.runs))
  misfit = max(about.residual - seeds, 0.0)
  if not misfit + rungs.variance > 0:
    return problem, found
  weight_M = noise.weights(rungs, misfit)
  problem = dataclasses.replace(problem, weight_M=weight_M)
  return problem, estimate(problem)


def _drawn(
  problem: Problem,
  found: Estimate,
  rungs: Rungs,
  protocol: str,
  resamples: int,
  seed: int,
) -> resampling.Bootstrap:
  """Bootstrap refits; none with too few points."""
  if not trust.enough_points(problem):
    width = len(problem.law.params)
    return resampling.Bootstrap(np.empty((0, width)), np.empty(0), 0.0)
  rng = np.random.default_rng(seed)
  fitted_M = _fitted(problem, found)
  about = noise.measured(problem, fitted_M, rungs)
  if protocol == 'noise':
    draws = resampling.noise_draws(problem, fitted_M, about, resamples, rng)
  elif protocol == 'pairs':
    draws = resampling.pairs_draws(problem, about, resamples, rng)
  else:
    draws = resampling.hierarchical_draws(problem, rungs, about, resamples, rng)
  return resampling.bootstrap(problem, found.theta, draws)


def _intervals(
  found: Estimate,
  law: Law,
  samples_RxP: np.ndarray,
  influence: trust.Influence | None,
  kind: str,
  level: float,
) -> dict[str, tuple[float, float]]:
  if not len(samples_RxP):
    return {}
  if kind == 'bca' and influence is not None:
    ends = intervals.bca(samples_RxP, found.params, influence.params, level)
  else:
    ends = intervals.percentile(samples_RxP, level)
  return {
    name: (float(low), float(high))
    for name, low, high in zip(law.params, *ends, strict=True)
  }


def _fitted(problem: Problem, found: Estimate) -> np.ndarray:
  return problem.law.predict(found.params, problem.points.columns)


def _seed_noise(rungs: Rungs) -> str:
  if not rungs.freedom:
    return 'not measured'
  return (
    f'{math.sqrt(rungs.variance):.3g} between seeds, {rungs.freedom} degrees '
    'of freedom'
  )


def _check(problem: Problem) -> None:
  law, points = problem.law, problem.points
  unknown = [name for name in problem.fixed if name not in law.params]
  if unknown:
    raise UserError(
      f'fixed = {unknown[0]}: {law.name} has {", ".join(law.params)}'
    )
  absent = [name for name in law.inputs if name not in points.columns]
  if absent:
    raise UserError(f'{law.name} needs a column {", ".join(absent)}')
  columns = {name: points[name] for name in law.inputs}
  if problem.space == 'log':
    columns['value'] = points.value
  for name, column in columns.items():
    if not np.all(np.isfinite(column) & (column > 0)):
      raise UserError(f'{name}: a law needs finite numbers above 0')
  if len(points) < problem.free:
    raise UserError(
      f'{len(points)} points for the {problem.free} parameters of '
      f'{law.name}: add runs'
    )
  for name in law.inputs:
    if np.ptp(np.log(points[name])) < 0.01:
      raise UserError(
        f'{name} is the same in all runs: a law in it needs it to vary'
      )


def _check_fixed(problem: Problem, found: Estimate) -> None:
  law = problem.law
  for name, value in problem.fixed.items():
    here = np.array(law.params) == name
    low, high = (
      law.natural(np.where(here, edge, found.theta), problem.units)[here][0]
      for edge in problem.bounds()
    )
    if not low <= value <= high:
      raise UserError(
        f'fixed {name} = {value}: expected {low:.4g} to {high:.4g}'
      )


def _choose(key: str, value: str, known: Sequence[str]) -> None:
  if value not in known:
    raise UserError(f'{key} = {value!r}: choose from {", ".join(known)}')


if __name__ == '__main__':
  # Defined here alone: other commands of ours have flags of these names.
  source.define_flags()
  flags.DEFINE_string('law', 'chinchilla', f'one of {", ".join(LAWS)}')
  flags.DEFINE_string('out', None, 'JSON file to write', required=True)
  command.run_command(main)
