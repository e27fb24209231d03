"""Fits one law: `python -m scaling.fit --records=F --law=L --out=FIT.json`."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from configs import command
from configs.errors import UserError, choose
from configs.files import write_text
from scaling import bootstrap, intervals, source, trust
from scaling.envelope import fit_envelope
from scaling.estimate import Estimate
from scaling.fitted import Fit, domain
from scaling.isoflop import fit_isoflop
from scaling.law import Law
from scaling.laws import LAWS, known_law
from scaling.laws.broken import BROKEN
from scaling.points import Points, Rungs
from scaling.ready import Ready, prepare
from scaling.select_breaks import select_breaks

INTERVALS = ('percentile', 'bca')
APPROACHES = {'envelope': fit_envelope, 'isoflop': fit_isoflop}
SELECTED = 'broken'  # with as many breaks as fit and forecast better
_TOLD = 3  # runs of most influence, in a summary


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
  choose('interval', interval, INTERVALS)
  if resamples < 0:
    raise UserError(f'resamples = {resamples}: expected 0 or more')
  ready = prepare(
    data,
    law,
    delta=delta,
    quantile=quantile,
    space=space,
    fixed=fixed,
    resampling=resampling,
  )
  # Fits of different laws are drawn apart, so that one may follow the other.
  rng = np.random.default_rng([seed, *ready.problem.law.name.encode()])
  drawn = bootstrap.bootstrap(
    ready.problem, ready.found.theta, ready.draws(resamples, rng)
  )
  return conclude(ready, drawn, interval=interval, level=level)


def conclude(
  ready: Ready, drawn: bootstrap.Bootstrap, *, interval: str, level: float
) -> Fit:
  """The fit with its intervals, and all that speaks against it."""
  problem, found, rungs = ready.problem, ready.found, ready.rungs
  form, points = problem.law, problem.points
  influence = None
  if len(points) > problem.free + 1:
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
    n=len(points),
    conventions={
      **points.conventions,
      'objective': problem.objective.describe(problem.space),
      'bootstrap': ready.resampling,
      'interval': interval,
      'seed_noise': _seed_noise(rungs),
    },
    warnings=(
      *said,
      *edges.values(),
      *flat.values(),
      *form.remarks(params, spans, points),
    ),
    level=level,
    space=problem.space,
    converged=found.converged,
    condition=trust.condition(problem, found),
    at_bounds=tuple(edges),
    flat=tuple(flat),
    domain=domain(points.columns),
    samples=drawn.samples,
    noise=drawn.noise,
    influence=() if influence is None else influence.rows(form.params),
  )


def summary(fit: Fit) -> str:
  """A fit in a few lines: parameters, intervals, warnings."""
  lines = [f'{fit.law} fitted to {fit.n} points, objective {fit.objective:.6g}']
  for name, value in fit.params.items():
    low, high = fit.intervals.get(name, (None, None))
    span = '' if low is None else f'  [{low:.5g}, {high:.5g}]'
    lines.append(f'  {name:<6}{value:.5g}{span}')
  # Where the law meets all runs none has any influence.
  met = fit.objective <= trust.ROUNDING * fit.n
  most = sorted(fit.influence, key=lambda row: -row['fall'])
  lines += [
    f'  without {row["run"]} the objective is {row["fall"]:.0%} lower'
    for row in most[: 0 if met else _TOLD]
  ]
  lines += [f'warning: {text}' for text in fit.warnings]
  return '\n'.join(lines)


def main(argv: Sequence[str]) -> None:
  """Reads records, fits, writes the fit and prints it."""
  command.no_arguments(argv)
  args = flags.FLAGS
  chosen = source.from_flags(args)
  if args.law in APPROACHES:
    if args.chance is not None:
      raise UserError(f'--chance: {args.law} has no floor')
    points = source.read_points(args.records, chosen, inputs=('flops',))
    found = APPROACHES[args.law](points)
    fit = found.fit
  else:
    law = BROKEN[0] if args.law == SELECTED else known_law(args.law)
    points = source.read_points(
      args.records,
      chosen,
      inputs=law.inputs,
      value=law.value,
      items=law.items,
    )
    if args.law == SELECTED:
      law = select_breaks(points)
    fixed = {} if args.chance is None else {'b': args.chance}
    fit = fit_law(points, law, fixed=fixed)
  write_text(pathlib.Path(args.out), fit.to_json())
  if args.plots:
    # Matplotlib takes a second to import.
    from scaling import plot_fit, plots

    if args.law in APPROACHES:
      figures = plot_fit.plots_of_allocation(found)
    else:
      ready = prepare(points, law, fixed=fixed)
      figures = plot_fit.plots_of(points, fit, ready)
    plots.write(args.plots, figures)
  print(summary(fit))


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


def _seed_noise(rungs: Rungs) -> str:
  if not rungs.freedom:
    return 'not measured'
  return (
    f'{math.sqrt(rungs.variance):.3g} between seeds, {rungs.freedom} degrees '
    'of freedom'
  )


if __name__ == '__main__':
  # Defined here alone: other commands of ours have flags of these names.
  source.define_flags()
  flags.adopt_module_key_flags(source)  # for --help
  flags.DEFINE_string(
    'law',
    'chinchilla',
    f'one of {", ".join((*LAWS, SELECTED, *APPROACHES))}',
  )
  flags.DEFINE_float('chance', None, 'score of a guess, the floor b of a law')
  flags.DEFINE_string('out', None, 'JSON file to write', required=True)
  flags.DEFINE_string('plots', None, 'folder for figures, as PNG')
  command.run_command(main)
