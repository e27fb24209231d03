"""The forecast: written and hashed before the run it predicts, scored after."""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from configs.files import write_json, write_text
from configs.tree import to_dataclass
from model.counts import count_parameters, training_flops_per_token
from scaling import ladder_checks, register
from scaling.chain import Chain, fit_chain, forecast_chain
from scaling.ensemble import factors_of, pool
from scaling.fit import fit_law
from scaling.fitted import Fit
from scaling.forecast import forecast
from scaling.laws import known_law
from scaling.points import Points, average_seeds, points, scores
from scaling.records import HELD_OUT, LOSS, Record
from scaling.rolling import roll
from scaling.verdict import verdict
from study.config import StudyConfig
from study.ladder import Rung, run_config
from train.config import RunConfig

# Least squares: a ladder is small and clean, where the published Huber loss,
# made for hundreds of noisy runs, only widens the intervals.
DELTA = math.inf

FIT = 'fit.json'
TASK_FIT = 'task_fit.json'
CHECKS = 'checks.json'
FORECAST = 'forecast.json'
VERDICT = 'verdict.json'


def write_forecast(
  config: StudyConfig,
  rung: Rung,
  records: Sequence[Record],
  folder: pathlib.Path,
) -> str:
  """Fits the laws, forecasts a rung, and writes all of it with its digest.

  A forecast is written once: later calls read it and change nothing.

  Args:
    config: of the study.
    rung: not among the records.
    records: of the fitted rungs and the repeated seeds.
    folder: of the study.

  Returns:
    The SHA-256 of forecast.json.

  Raises:
    UserError: the file is not the one that was hashed.
  """
  path = folder / FORECAST
  if register.seal_of(path).exists():
    return register.check(path)
  losses, scored = measured(config, records)
  chains, direct = fits(config, losses, scored)
  chain = chains[0]
  (_, params, tokens, flops) = described = _described(config, rung)
  at = {'params': params, 'tokens': tokens, 'flops': flops}
  options: dict[str, Any] = {
    'items': int(scored['items'][-1]),  # as many for every rung
    'level': config.law.level,
  }
  factors = factors_of(
    roll(losses, config.law.forms, delta=DELTA, level=config.law.level),
    config.law.forms,
  )
  pairs = [
    forecast_chain(each, at, factor=factors[each.loss.law], **options)
    for each in chains
  ]
  loss = pool([loss for loss, _ in pairs])
  score = pool(
    [*(score for _, score in pairs), forecast(direct, at, **options)]
  )
  rungs = average_seeds(losses, known_law(chain.loss.law).inputs).points
  write_text(folder / FIT, chain.loss.to_json())
  write_text(folder / TASK_FIT, chain.score.to_json())
  write_json(
    folder / CHECKS,
    {
      'violations': ladder_checks.violations(rungs),
      'task': verdict(scored, chain.score, score)._asdict(),
    },
  )
  return register.register(
    path,
    {'loss': loss, 'score': score},
    {
      **{f'loss/{each.loss.law}': each.loss for each in chains},
      f'score/{chain.score.law}': chain.score,
      f'score/{direct.law}': direct,
    },
    register.digest_of(losses, scored),
    {
      'rung': dict(
        zip(('name', 'params', 'tokens', 'flops'), described, strict=True)
      )
      | {'size': rung.size},
      'task': config.evals.task,
      'metric': config.evals.metric,
      'shots': config.evals.shots,
    },
  )


def write_verdict(
  records: Sequence[Record], rung: Rung, folder: pathlib.Path
) -> dict[str, Any]:
  """Scores the forecast with what was then measured."""
  tree = json.loads((folder / FORECAST).read_text())
  found = {
    (record.task, record.metric, record.shots): record.value
    for record in records
    if record.run == rung.name
  }
  judged = register.score(
    folder / FORECAST,
    {
      'loss': found[HELD_OUT, LOSS, 0],
      'score': found[tree['task'], tree['metric'], tree['shots']],
    },
  )
  write_json(folder / VERDICT, judged)
  return judged


def measured(
  config: StudyConfig, records: Sequence[Record]
) -> tuple[Points, Points]:
  """Losses, and scores of the study's task, as its laws take them."""
  law, evals = config.law, config.evals
  return points(records, params=law.params), scores(
    records,
    task=evals.task,
    metric=evals.metric,
    shots=evals.shots,
    params=law.params,
  )


def fits(
  config: StudyConfig, losses: Points, scored: Points
) -> tuple[list[Chain], Fit]:
  """The laws of loss, each with a sigmoid to the task's score; the direct law.

  The chains and the law from the budget straight to the score disagree as much
  as is not known of how a loss becomes a score.
  """
  law = config.law
  shared: dict[str, Any] = {
    'fixed': {'b': config.evals.chance},
    'resamples': law.resamples,
    'level': law.level,
    'seed': config.seed,
  }
  chains = [
    fit_chain(losses, scored, law=form, delta=DELTA, **shared)
    for form in law.forms
  ]
  return chains, fit_law(scored, 'direct', **shared)


def _described(
  config: StudyConfig, rung: Rung
) -> tuple[str, float, float, float]:
  """Name, N in the law's convention, D and FLOPs of a run not yet made."""
  tree = run_config(config, rung, pathlib.Path())
  run = to_dataclass(RunConfig, tree)
  counts = count_parameters(run.model)
  tokens = run.train.num_steps * run.tokens_per_step
  per_token = training_flops_per_token(run.model, run.data.sequence_length)
  return (
    rung.name,
    getattr(counts, config.law.params),
    tokens,
    tokens * per_token,
  )
