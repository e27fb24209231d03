"""Trains one rung, scores it, and tells what was measured as records."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from configs.files import write_json
from configs.tree import digest, to_dataclass
from data.interventions import InterventionConfig
from data.mixture import MixtureConfig
from evals.run import evaluate
from model.counts import (
  FLOPS_CONVENTION,
  count_parameters,
  training_flops_per_token,
)
from scaling.records import Record
from study import ladder
from study.config import StudyConfig
from study.ladder import Rung
from train import checkpoint, loop, workdir
from train.config import RunConfig

RUNS = 'runs'
SCORES = 'scores'

# Of a run's accounting, those that a record tells.
_ACCOUNTED = (
  'wall_seconds',
  'goodput',
  'mfu',
  'peak_source',
  'devices',
  'device_kind',
  'energy_joules',
  'energy_source',
  'carbon_grams',
  'region',
  'cost_usd',
  'price_source',
)


class StoppedError(Exception):
  """The study was asked to stop; what is done stays done."""


def train_rung(
  config: StudyConfig, rung: Rung, folder: pathlib.Path
) -> loop.RunResult:
  """Trains a rung to its end, or does nothing where that has been done.

  Raises:
    StoppedError: it was interrupted.
  """
  runs = folder / RUNS
  result = loop.run(ladder.run_config(config, rung, runs), runs / rung.name)
  if not result.finished:
    raise StoppedError
  return result


def score_rung(
  config: StudyConfig, rung: Rung, folder: pathlib.Path
) -> list[Record]:
  """Trains and scores a rung; what is there already is read."""
  result = train_rung(config, rung, folder)
  path = folder / SCORES / f'{rung.name}.json'
  if not path.exists():
    chosen = config.evals
    scores = evaluate(result.workdir, ['heldout'], limit=chosen.heldout_rows)[
      'tasks'
    ]
    scores |= evaluate(
      result.workdir, [chosen.task], chosen.shots, chosen.items
    )['tasks']
    write_json(path, scores)
  scores = json.loads(path.read_text())
  return list(_records(config, rung, folder, result, scores))


def _records(
  config: StudyConfig,
  rung: Rung,
  folder: pathlib.Path,
  result: loop.RunResult,
  scores: Mapping[str, Any],
) -> Iterator[Record]:
  tree = ladder.run_config(config, rung, folder / RUNS)
  corpus = checkpoint.load_meta(checkpoint.find(result.workdir)).corpus
  run = to_dataclass(RunConfig, tree)
  counts = count_parameters(run.model)
  tokens = run.train.num_steps * run.tokens_per_step
  flops = tokens * training_flops_per_token(run.model, run.data.sequence_length)
  took = _took(pathlib.Path(result.workdir))
  for task, metrics in scores.items():
    for metric, score in metrics.items():
      yield Record(
        run=rung.name,
        config_digest=digest(tree.to_dict()),
        family=run.model.architecture,
        objective=run.data.objective.kind,
        size=rung.size,
        params_total=counts.total,
        params_non_embedding=counts.non_embedding,
        params_active=counts.active,
        tokens=tokens,
        unique_tokens=_unique_tokens(run, tokens, corpus),
        flops=flops,
        flops_convention=FLOPS_CONVENTION,
        step=run.train.num_steps,
        seed=rung.seed,
        schedule_phase='end',
        task=task,
        shots=0 if task == 'heldout' else config.evals.shots,
        metric=metric,
        value=score['value'],
        stderr=score['stderr'],
        n=score['n'],
        seconds=result.seconds,
        interventions=_interventions(run),
        **took,
      )


def _took(folder: pathlib.Path) -> dict[str, Any]:
  """What a run took, as records tell it; of older runs it is not known."""
  done = workdir.read_done(folder)
  assert done is not None
  took = done.get('accounting', {'energy_joules': None, 'cost_usd': None})
  return {key: took[key] for key in _ACCOUNTED if key in took}


def _unique_tokens(
  run: RunConfig, tokens: int, corpus: Mapping[str, Any]
) -> float | None:
  """Tokens that were seen once or more; None where it is not that simple."""
  if run.data.mixture != MixtureConfig() or len(corpus['sources']) > 1:
    return None  # each source has epochs of its own
  if run.data.interventions.duplicate_share:
    return None  # of the copies each counts as one in the text
  return min(
    tokens, run.data.unique_tokens or corpus['splits']['train']['tokens']
  )


def _interventions(run: RunConfig) -> str:
  """The keys of data.interventions that are not as they are by default."""
  asked = dataclasses.asdict(run.data.interventions)
  nothing = dataclasses.asdict(InterventionConfig())
  changed = {
    key: value for key, value in asked.items() if value != nothing[key]
  }
  return ' '.join(f'{key}={value}' for key, value in changed.items())
