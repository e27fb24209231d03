"""Fits one law: `python -m scaling.fit --records=F --law=L --out=FIT.json`."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from absl import flags

from configs import command
from configs.errors import UserError
from configs.files import write_text
from scaling import bootstrap, chinchilla, trust
from scaling.law import Fit, Law, check_level, domain, percentile_intervals
from scaling.points import Points, average_seeds, points
from scaling.records import read_records

T = TypeVar('T')

LAWS: dict[str, Law] = {chinchilla.NAME: chinchilla}
_BOOTSTRAPS: dict[str, Callable[..., bootstrap.Bootstrap]] = {
  'noise': bootstrap.noise_bootstrap,
  'pairs': bootstrap.pairs_bootstrap,
}
_MANY = 20  # points for each parameter, from which runs may be drawn as pairs


def fit_law(
  points: Points,
  law: str = chinchilla.NAME,
  *,
  delta: float = chinchilla.DELTA,
  resampling: str = 'auto',
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Fit:
  """Fits a law of loss to runs, with intervals and warnings.

  Runs that differ by their seed alone are averaged into one rung, and their
  scatter is the least noise that the intervals assume.

  Args:
    points: one run a row.
    law: a key of `LAWS`.
    delta: residuals of log loss count squared below it and in proportion above.
      The default is the published objective, made for hundreds of noisy runs;
      `math.inf`, least squares, is more precise on a small clean ladder.
    resampling: noise | pairs | auto (pairs from 20 points a parameter); see
      `scaling.bootstrap`.
    resamples: bootstrap refits.
    level: of the intervals.
    seed: of the bootstrap.

  Raises:
    UserError: an unknown law or resampling, a level outside (0, 1), fewer
      points than parameters, points that do not vary, or losses that are not
      finite and above 0.
  """
  check_level(level)
  form = _known('law', law, LAWS)
  rungs, seed_variance, seed_freedom = average_seeds(points)
  _check(form, rungs)
  estimate = form.estimate(rungs, delta)
  drawn = bootstrap.Bootstrap(np.empty((0, len(form.PARAMS))), np.empty(0), 0.0)
  if resampling == 'auto':
    many = len(rungs) >= _MANY * len(form.PARAMS)
    resampling = 'pairs' if many else 'noise'
  resample = _known('resampling', resampling, _BOOTSTRAPS)
  if trust.enough_points(form, rungs):
    drawn = resample(
      form,
      rungs,
      estimate,
      delta=delta,
      seed_variance=seed_variance,
      resamples=resamples,
      seed=seed,
    )
  intervals = percentile_intervals(form.PARAMS, drawn.samples, level)
  said = trust.fit_warnings(
    form, rungs, estimate, delta, intervals, drawn.failed
  )
  return Fit(
    law=law,
    params=dict(zip(form.PARAMS, estimate.params.tolist(), strict=True)),
    intervals=intervals,
    objective=estimate.objective,
    n=len(rungs),
    conventions={
      **points.conventions,
      'objective': f'sum of Huber({delta:g}) of log residuals',
      'bootstrap': resampling,
      'seed_noise': (
        f'{seed_variance**0.5:.3g} of log loss, {seed_freedom} degrees of '
        'freedom'
        if seed_freedom
        else 'not measured'
      ),
    },
    warnings=tuple(said),
    level=level,
    samples=drawn.samples,
    noise=drawn.noise,
    domain=domain(
      {'params': rungs.params, 'tokens': rungs.tokens, 'flops': rungs.flops}
    ),
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
  fit = fit_law(points(read_records(args.records)), args.law)
  write_text(pathlib.Path(args.out), fit.to_json())
  print(summary(fit))


def _check(law: Law, rungs: Points) -> None:
  for name in ('params', 'tokens', 'value'):
    column = getattr(rungs, name)
    if not np.all(np.isfinite(column) & (column > 0)):
      raise UserError(f'{name}: a law needs finite numbers above 0')
  if len(rungs) < len(law.PARAMS):
    raise UserError(
      f'{len(rungs)} points for the {len(law.PARAMS)} parameters of '
      f'{law.NAME}: add runs'
    )
  for name in ('params', 'tokens'):
    if np.ptp(np.log(getattr(rungs, name))) < 0.01:
      raise UserError(
        f'{name} is the same in all runs: a law in it needs it to vary'
      )


def _known(key: str, name: str, table: Mapping[str, T]) -> T:
  if name not in table:
    raise UserError(f'{key} = {name!r}: choose from {", ".join(table)}')
  return table[name]


if __name__ == '__main__':
  # Defined here alone: other commands of ours have flags of these names.
  flags.DEFINE_string('records', None, 'records JSONL or CSV', required=True)
  flags.DEFINE_string('law', chinchilla.NAME, f'one of {", ".join(LAWS)}')
  flags.DEFINE_string('out', None, 'JSON file to write', required=True)
  command.run_command(main)
