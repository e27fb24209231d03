"""The forecast: written and hashed before the run it predicts, scored after."""

import datetime
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from configs.errors import UserError
from configs.files import write_json, write_text
from configs.tree import to_dataclass
from model.counts import count_parameters, training_flops_per_token
from scaling import ladder_checks
from scaling.fit import fit_law
from scaling.fitted import Fit
from scaling.forecast import (
  forecast,
  forecast_score,
  from_tree,
  score_forecast,
)
from scaling.laws import known_law
from scaling.points import average_seeds, points, scores
from scaling.records import Record
from study.config import StudyConfig
from study.ladder import Rung, run_config
from train.config import RunConfig

FIT = 'fit.json'
TASK_FIT = 'task_fit.json'
CHECKS = 'checks.json'
FORECAST = 'forecast.json'
DIGEST = 'forecast.sha256'
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
  if (folder / DIGEST).exists():
    return check_forecast(folder)
  loss_fit, task_fit = fits(config, records)
  (_, params, tokens, flops) = described = _described(config, rung)
  loss = forecast(
    loss_fit,
    {'params': params, 'tokens': tokens, 'flops': flops},
    level=config.law.level,
  )
  score = forecast_score(loss, task_fit, items=_items(config, records))
  rungs = average_seeds(
    points(records, params=config.law.params), known_law(loss_fit.law).inputs
  ).points
  write_text(folder / FIT, loss_fit.to_json())
  write_text(folder / TASK_FIT, task_fit.to_json())
  write_json(folder / CHECKS, {'violations': ladder_checks.violations(rungs)})
  write_json(
    folder / FORECAST,
    {
      'written_at': datetime.datetime.now(datetime.UTC).isoformat(),
      'rung': dict(
        zip(('name', 'params', 'tokens', 'flops'), described, strict=True)
      )
      | {'size': rung.size},
      'law': loss_fit.law,
      'records_sha256': _digest_of(records),
      'task': config.evals.task,
      'metric': config.evals.metric,
      'loss': loss.to_tree(),
      'score': score.to_tree(),
    },
  )
  # Last: the digest says that all of the above is there.
  write_text(folder / DIGEST, _digest(folder / FORECAST) + '\n')
  return check_forecast(folder)


def check_forecast(folder: pathlib.Path) -> str:
  """The digest of the forecast, which must be the one noted with it.

  Raises:
    UserError: the file has been changed since.
  """
  noted = (folder / DIGEST).read_text().strip()
  if _digest(folder / FORECAST) != noted:
    raise UserError(
      f'{folder / FORECAST} is not the file that {DIGEST} was made of: a '
      'forecast cannot be changed; start in a new workdir'
    )
  return noted


def write_verdict(
  records: Sequence[Record], rung: Rung, folder: pathlib.Path
) -> dict[str, Any]:
  """Scores the forecast with what was then measured."""
  digest = check_forecast(folder)
  tree = json.loads((folder / FORECAST).read_text())
  own = [record for record in records if record.run == rung.name]

  def judged(kind: str, task: str, metric: str) -> dict[str, Any]:
    (truth,) = (
      record.value
      for record in own
      if (record.task, record.metric) == (task, metric)
    )
    score = score_forecast(from_tree(tree[kind]), truth)
    return {
      'forecast': tree[kind]['value'],
      'truth': truth,
      **score._asdict(),
    }

  verdict = {
    'forecast_sha256': digest,
    'loss': judged('loss', 'heldout', 'loss'),
    'score': judged('score', tree['task'], tree['metric']),
  }
  write_json(folder / VERDICT, verdict)
  return verdict


def fits(config: StudyConfig, records: Sequence[Record]) -> tuple[Fit, Fit]:
  """The law of loss and the sigmoid of the task, fitted to all records."""
  law = config.law
  loss_fit = fit_law(
    points(records, params=law.params),
    # Least squares: a ladder is small and clean, where the published Huber
    # loss, made for hundreds of noisy runs, only widens the intervals.
    delta=math.inf,
    resamples=law.resamples,
    level=law.level,
    seed=config.seed,
  )
  task_fit = fit_law(
    scores(
      records,
      task=config.evals.task,
      metric=config.evals.metric,
      shots=config.evals.shots,
    ),
    'sigmoid',
    fixed={'b': config.evals.chance},
    resamples=law.resamples,
    level=law.level,
    seed=config.seed,
  )
  return loss_fit, task_fit


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


def _items(config: StudyConfig, records: Sequence[Record]) -> int:
  (items,) = {
    record.n
    for record in records
    if (record.task, record.metric) == (config.evals.task, config.evals.metric)
  }
  assert items is not None
  return items


def _digest(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest_of(records: Sequence[Record]) -> str:
  text = '\n'.join(repr(record) for record in records)
  return hashlib.sha256(text.encode()).hexdigest()
