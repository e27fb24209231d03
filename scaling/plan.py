"""Plans a run: `python -m scaling.plan --fit=FIT.json --flops=1e21 --out=F`."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from configs import command
from configs.chips import CHIPS, MFU
from configs.errors import UserError
from configs.files import write_json
from configs.grids import GRAMS_PER_KWH, PUE
from scaling import budget as budgets
from scaling import options
from scaling.fitted import Fit, fit_from_json
from scaling.forecast import through
from scaling.laws import known_law
from scaling.next_run import next_runs
from scaling.optimum import (
  R_D_STAR,
  R_N_STAR,
  FlopsPerToken,
  interval,
  optimum,
  six_n,
  surface_of,
)

NEXT_SHARE = 0.1  # of the budget: the most that a next run may cost
_FEW = 0.01  # share of draws without an optimum that is worth no word
_SEED = 1  # of the noise of the score


def plan(
  fit: Fit,
  budget: budgets.Budget,
  *,
  task_fit: Fit | None = None,
  unique_tokens: float | None = None,
  inference_tokens: float | None = None,
  region: str = 'world',
  flops_per_token: FlopsPerToken = six_n,
) -> dict[str, Any]:
  """The compute optimum of a budget, what else it buys, and what it takes.

  Intervals are percentiles of the fit's draws, at the fit's level. Those of
  params and tokens are of each draw's own optimum; that of the loss is of the
  planned run itself, and holds the noise of one run.

  Args:
    fit: of a law of params and tokens, maybe with unique tokens.
    budget: as `scaling.budget.to_budget` makes it.
    task_fit: of a law from the loss to a score.
    unique_tokens: how many there are, for `options.unique_tokens`.
    inference_tokens: over the model's life, for total costs.
    region: of the grid, one of `configs.grids.GRAMS_PER_KWH`.
    flops_per_token: training FLOPs a token of sizes.

  Returns:
    Plain data for JSON: law, level, budget, optimum, intervals, options,
    memory, cost by kind of chip, next_runs, assumptions and warnings. Sizes
    count as the fit's conventions tell.

  Raises:
    UserError: a law of other inputs, one without an optimum, a number that is
      not above 0, or an unknown region.
  """
  for name, size in (
    ('unique_tokens', unique_tokens),
    ('inference_tokens', inference_tokens),
  ):
    if size is not None:
      budgets.check_positive(name, size)
  kinds = [budget.chip] if budget.chip else list(CHIPS)
  cost = {
    kind: budgets.cost(budget.flops, kind, budget.mfu, region) for kind in kinds
  }
  surface = surface_of(fit)
  best = optimum(surface, budget.flops, flops_per_token)
  params, tokens = float(best.params[0]), float(best.tokens[0])
  if not best.found[0]:
    raise UserError(
      f'{fit.law} has no optimum at {budget.flops:.3g} FLOPs: its loss falls '
      f'up to {params:.3g} params and {tokens:.3g} tokens'
    )
  loss_S = surface.measured(best.params[:1], best.tokens[:1])[:, 0]
  tree: dict[str, Any] = {
    'law': fit.law,
    'level': fit.level,
    'budget': budget.to_tree(),
    'optimum': {'params': params, 'tokens': tokens, 'loss': float(loss_S[0])},
    'intervals': {
      'params': interval(best.params[1:], fit.level),
      'tokens': interval(best.tokens[1:], fit.level),
      'loss': interval(loss_S[1:], fit.level),
    },
  }
  if task_fit is not None:
    score, ends = _score(task_fit, loss_S, fit.level)
    tree['optimum']['score'], tree['intervals']['score'] = score, ends
  terms = options.Terms(
    budget.flops, fit.level, inference_tokens, flops_per_token
  )
  nexts = next_runs(
    fit,
    params=params,
    tokens=tokens,
    most_flops=NEXT_SHARE * budget.flops,
    flops_per_token=flops_per_token,
  )
  return tree | {
    'options': _options(fit, params, terms, unique_tokens),
    'memory': budgets.memory(params),
    'cost': cost,
    'next_runs': nexts,
    'assumptions': [
      *_assumptions(fit, budget, region, flops_per_token),
      *_conditional(fit, kinds, task_fit, unique_tokens),
    ],
    'warnings': [
      *fit.warnings,
      *(task_fit.warnings if task_fit else ()),
      *_extrapolation(fit, budget.flops, params, tokens),
      *_doubts(fit, budget, best.found[1:], params, tokens, unique_tokens),
    ],
  }


def summary(tree: dict[str, Any]) -> str:
  """A plan in a screen of text."""
  spent = tree['budget']
  head = f'{spent["flops"]:.4g} training FLOPs'
  if spent['hours'] is not None:
    head += f', {spent["hours"]:.4g} h of {spent["chips"]} x {spent["chip"]}'
  if spent['usd'] is not None:
    head += f', ${spent["usd"]:,.0f}'
  lines = [f'{head}; law {tree["law"]}']
  for name, value in tree['optimum'].items():
    lines.append(f'  {name:<8}{value:<10.4g}{_span(tree["intervals"][name])}')
  menu = tree['options']
  tables = [
    ('at the same budget', menu['same_budget']),
    ('at the same loss', menu['same_loss']),
  ]
  if 'least_total' in menu:
    tables.append(('least training and inference', [menu['least_total']]))
  if 'unique_tokens' in menu:
    capped = menu['unique_tokens']
    tables.append(
      (
        f'{capped["unique_tokens"]:.3g} unique tokens, the best first',
        [capped['best'], *capped['epochs']],
      )
    )
  lines.append('  params    tokens    a param  loss')
  for title, found in tables:
    lines.append(f'{title}:')
    lines += [_line(row) for row in found if row is not None]
  lines.append('cost:  chip-hours, dollars, kWh, kg CO2e, least chips')
  lines += [
    f'  {kind:<10}{row["chip_hours"]:>11.3g}{row["usd"]:>11.3g}'
    f'{row["kwh"]:>11.3g}{row["kg_co2e"]:>11.3g}'
    f'{tree["memory"]["least_chips"][kind]:>7}'
    for kind, row in tree['cost'].items()
  ]
  if tree['next_runs']:
    lines.append('next runs, by what they narrow this forecast per FLOP:')
  lines += [
    f'  {row["params"]:<10.3g}{row["tokens"]:<10.3g}{row["flops"]:.2g} FLOPs '
    f'take {row["variance_share"]:.1%} off the variance of the log loss'
    for row in tree['next_runs']
  ]
  lines.append(f'assumptions, listed in the plan: {len(tree["assumptions"])}')
  lines += [f'warning: {text}' for text in tree['warnings']]
  return '\n'.join(lines)


def main(argv: Sequence[str]) -> None:
  """Reads the fits, plans, writes the plan and prints it."""
  command.no_arguments(argv)
  args = flags.FLAGS
  budget = budgets.to_budget(
    flops=args.flops,
    usd=args.usd,
    hours=args.hours,
    chip=args.chip,
    chips=args.chips,
    mfu=args.mfu,
  )
  tree = plan(
    _read_fit(args.fit),
    budget,
    task_fit=_read_fit(args.task_fit) if args.task_fit else None,
    unique_tokens=args.unique_tokens,
    inference_tokens=args.inference_tokens,
    region=args.region,
  )
  write_json(pathlib.Path(args.out), tree)
  print(summary(tree))


def _read_fit(path: str) -> Fit:
  file = pathlib.Path(path)
  if not file.is_file():
    raise UserError(f'{path}: no such file; give what scaling.fit --out wrote')
  try:
    return fit_from_json(file.read_text())
  except (UserError, UnicodeDecodeError) as error:
    raise UserError(f'{path}: {error}') from error


def _options(
  fit: Fit, best: float, terms: options.Terms, unique_tokens: float | None
) -> dict[str, Any]:
  surface = surface_of(fit)
  menu: dict[str, Any] = {
    'same_budget': options.same_budget(surface, best, terms),
    'same_loss': options.same_loss(surface, best, terms),
  }
  if terms.inference_tokens is not None:
    menu['least_total'] = options.least_total(surface, best, terms)
  if unique_tokens is not None:
    capped, epochs = options.repeated(surface_of(fit, unique_tokens), terms)
    menu['unique_tokens'] = {
      'unique_tokens': unique_tokens,
      'best': capped,
      'epochs': epochs,
    }
  return menu


def _score(
  fit: Fit, loss_S: np.ndarray, level: float
) -> tuple[float, list[float] | None]:
  """The score at the planned loss: draws of the two fits meet one by one."""
  law = known_law(fit.law)
  if law.inputs != ('loss',):
    raise UserError(f'task_fit: {law.name} is no law from a loss to a score')
  value = law.predict(fit.params_P, {'loss': loss_S[:1]})[0]
  count = min(len(loss_S) - 1, len(fit.samples))
  shock_R = np.random.default_rng(_SEED).standard_normal(count)
  drawn_R = np.clip(through(fit, loss_S[1 : count + 1], shock_R), 0, 1)
  return float(value), interval(drawn_R, level)


def _assumptions(
  fit: Fit,
  budget: budgets.Budget,
  region: str,
  flops_per_token: FlopsPerToken,
) -> list[str]:
  """What every plan takes for granted."""
  counted, flops = (
    fit.conventions.get(name, 'as given') for name in ('params', 'flops')
  )
  rate = '6 FLOPs a parameter and token'
  if flops_per_token is not six_n:
    rate = 'FLOPs a token by a function of params that was given'
  return [
    f'params count as in the fit ({counted}), for memory too',
    f'training takes {rate}; the fitted runs count FLOPs {flops}',
    'a token of inference takes a third of the FLOPs of one of training',
    f'runs reach {budget.mfu:.0%} of peak bf16 FLOPs (MFU)',
    f'training holds {budgets.BYTES_PER_PARAM} bytes a parameter, float32 '
    'parameters, gradients and two Adam moments, split evenly over chips; '
    'activations are left out',
    'prices are lists on demand of November 2026',
    f'chips draw their rated power throughout, {PUE:g} times that with the '
    'building (PUE); hosts and network are left out',
    f'electricity of {region}: {GRAMS_PER_KWH[region]:g} g CO2e a kWh',
    f'a next run costs at most {NEXT_SHARE:.0%} of the budget; what it narrows '
    'is linearised over the draws of the fit',
  ]


def _conditional(
  fit: Fit,
  kinds: Sequence[str],
  task_fit: Fit | None,
  unique_tokens: float | None,
) -> list[str]:
  """What some plans take for granted."""
  said = []
  guessed = [kind for kind in kinds if not CHIPS[kind].watts_published]
  if guessed:
    said.append(
      f'the power of {", ".join(guessed)} is an estimate: none is published'
    )
  if task_fit is not None:
    said.append('the interval of the score leaves out the sampling of items')
  known = 'unique_tokens' in known_law(fit.law).inputs
  if unique_tokens is not None and not known:
    said.append(
      f'repetition counts by R_D* = {R_D_STAR:.4g} and R_N* = {R_N_STAR:.3g} '
      'of Muennighoff et al. 2023: the fitted law knows of none'
    )
  return said


def _extrapolation(
  fit: Fit, flops: float, params: float, tokens: float
) -> list[str]:
  """How far the optimum lies beyond the fitted runs."""
  said = []
  for name, size in (('flops', flops), ('params', params), ('tokens', tokens)):
    if name not in fit.domain:
      continue
    low, high = fit.domain[name]
    if size > high:
      said.append(
        f'extrapolation: {size / high:.3g}x the largest fitted {name}; the '
        f'fitted runs span {high / low:.3g}x'
      )
    elif size < low:
      said.append(
        f'extrapolation: {low / size:.3g}x below the least fitted {name}'
      )
  return said


def _doubts(
  fit: Fit,
  budget: budgets.Budget,
  found_R: np.ndarray,
  params: float,
  tokens: float,
  unique_tokens: float | None,
) -> list[str]:
  said = []
  if not len(found_R):
    said.append('the fit has no draws: the plan has no intervals')
  elif np.mean(~found_R) > _FEW:
    said.append(
      f'{np.mean(~found_R):.1%} of the draws have no optimum: they count as '
      'the end of the search'
    )
  if unique_tokens is not None and tokens > unique_tokens:
    said.append(
      f'the optimum takes {tokens / unique_tokens:.3g}x the unique tokens '
      'there are: see options.unique_tokens'
    )
  if budget.chip is not None and budget.chips is not None:
    least = budgets.memory(params)['least_chips'][budget.chip]
    if budget.chips < least:
      said.append(
        f'{budget.chips} x {budget.chip} do not hold the optimum: at least '
        f'{least} do'
      )
  return said


def _line(row: options.Row) -> str:
  text = (
    f'  {row["params"]:<10.3g}{row["tokens"]:<10.3g}'
    f'{row["tokens_per_param"]:<9.3g}{row["loss"]:.4f} '
    f'{_span(row["loss_interval"])}'
  )
  if 'epochs' in row:
    text += f'  epochs {row["epochs"]:.3g}'
  if 'training_overhead' in row:
    text += f'  {row["training_overhead"]:+.0%} training'
  if 'total_flops' in row:
    text += f'  {row["total_flops"]:.3g} FLOPs in all'
  return text


def _span(ends: Sequence[float] | None) -> str:
  return '' if ends is None else f'[{ends[0]:.4g}, {ends[1]:.4g}]'


if __name__ == '__main__':
  # Defined here alone: other commands of ours have flags of these names.
  flags.DEFINE_string('fit', None, 'JSON of scaling.fit', required=True)
  flags.DEFINE_string('task_fit', None, 'JSON of a fit from loss to score')
  flags.DEFINE_float('flops', None, 'budget: training FLOPs')
  flags.DEFINE_float('usd', None, 'budget: dollars at the price of --chip')
  flags.DEFINE_float('hours', None, 'budget: hours of --chips x --chip')
  flags.DEFINE_string('chip', None, f'one of {", ".join(CHIPS)}')
  flags.DEFINE_integer('chips', None, 'number of chips')
  flags.DEFINE_float('mfu', MFU, 'model FLOPs over peak FLOPs')
  flags.DEFINE_float('unique_tokens', None, 'unique tokens there are')
  flags.DEFINE_float('inference_tokens', None, "over the model's life")
  flags.DEFINE_string('region', 'world', f'one of {", ".join(GRAMS_PER_KWH)}')
  flags.DEFINE_string('out', None, 'JSON file to write', required=True)
  command.run_command(main)
