"""Adapts a checkpoint to a task; the same command again changes nothing.

  python -m finetune.run --config=configs/finetune.py:library \
    --checkpoint=CKPT --workdir=DIR

Any key can follow, such as --config.mode=probe.
"""

import contextlib
import dataclasses
import logging
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from configs import tree as trees
from configs.command import run_command
from configs.errors import UserError
from configs.files import write_text
from evals.scores import Score, accuracy
from evals.tasks import corpus_of
from finetune import classifier as classifiers
from finetune import tasks
from finetune.adapt import adapt, score_of
from finetune.classifier import TextClassifier
from finetune.config import FinetuneConfig
from finetune.tasks import Topics
from train import checkpoint, workdir
from train.interrupt import stop_request
from train.metrics import METRICS, JsonlWriter
from train.pretrained import Pretrained, check_decoder, load_pretrained
from train.storage.places import CHECKPOINTS

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
  """How it ended.

  Attributes:
    workdir: its folder.
    finished: False when it was asked to stop before its last step.
    step: updates made; a probe makes none.
    seconds: of training, with compilation and validation.
    scores: on the test split, `{metric: {value, stderr, n, interval}}`:
      `acc`, and `majority_acc` of always naming the most frequent class of the
      train split; `validation_acc` beside them. Empty if unfinished.
  """

  workdir: str
  finished: bool
  step: int
  seconds: float
  scores: dict[str, dict[str, Any]]


def run(
  config: ConfigDict,
  checkpoint_path: pathlib.Path | str,
  workdir_path: pathlib.Path | str,
  *,
  devices: Sequence[jax.Device] | None = None,
  show_progress: bool = True,
) -> FinetuneResult:
  """Adapts a pre-trained model to a task and scores it on the test split.

  It is short: interrupted, it starts again from nothing.

  Args:
    config: as `configs.finetune.get_config` makes it.
    checkpoint_path: of `train.loop.run`: its workdir, or a checkpoint there.
    workdir_path: folder of the result; made when missing.
    devices: to use; all by default.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: the config cannot work, there is no such checkpoint, the folder
      is another run's, or the loss is no longer finite.
  """
  typed = trees.to_dataclass(FinetuneConfig, config)
  source = checkpoint.find(checkpoint_path)
  meta = checkpoint.load_meta(source)
  tree = workdir.as_json(config.to_dict())
  # What was adapted, wherever it lies now.
  tree['checkpoint'] = trees.digest(
    [meta.config, meta.step, meta.corpus['digest']]
  )
  folder = pathlib.Path(workdir_path).absolute()
  workdir.check(folder, tree)
  done = workdir.read_done(folder)
  if done is not None:
    log.info('%s is finished already', folder)
    return FinetuneResult(str(folder), True, **done)
  pretrained = load_pretrained(source, mesh_config=typed.mesh, devices=devices)
  check_decoder(pretrained)
  _check_length(typed, pretrained)
  corpus_of(pretrained)
  topics = tasks.load(
    typed.task,
    pretrained.config.data,
    typed.train_examples,
    typed.eval_examples,
  )
  with workdir.claimed(folder, tree), stop_request() as stop:
    # What an interrupted run left is of no use.
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    write_text(folder / METRICS, '')
    began = time.perf_counter()
    with contextlib.closing(JsonlWriter(folder / METRICS)) as writer:
      trained, step = adapt(
        typed, pretrained, topics, writer, stop, show_progress
      )
    seconds = time.perf_counter() - began
    if typed.mode != 'probe' and step < typed.num_steps:
      log.warning('stopped; run the same command to start again')
      return FinetuneResult(str(folder), False, step, seconds, {})
    found = {name: s.as_json() for name, s in _scores(trained, topics).items()}
    saved_as = dataclasses.replace(
      pretrained.meta,
      config={
        'finetune': tree,
        'pretrained': meta.config,
        'classes': list(topics.classes),
      },
      data_state={},
      step=step,
      seconds=seconds,
    )
    classifiers.save(trained, saved_as, folder)
    result = {'step': step, 'seconds': seconds, 'scores': found}
    workdir.mark_done(folder, result)
  return FinetuneResult(str(folder), True, step, seconds, found)


def _check_length(config: FinetuneConfig, pretrained: Pretrained) -> None:
  longest = pretrained.config.data.sequence_length
  if config.max_length > longest:
    raise UserError(
      f'max_length = {config.max_length}: the checkpoint was trained at '
      f'data.sequence_length = {longest}; lower it to that'
    )


def _scores(classifier: TextClassifier, topics: Topics) -> dict[str, Score]:
  return {
    'acc': score_of(classifier, topics, 'test'),
    'majority_acc': accuracy(topics.labels('test') == topics.majority()),
    'validation_acc': score_of(classifier, topics, 'validation'),
  }


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  given = flags.FLAGS
  result = run(given.config, given.checkpoint, given.workdir)
  for metric, score in result.scores.items():
    low, high = score['interval']
    print(
      f'{metric}: {score["value"]:.4f} (95%: {low:.4f} to {high:.4f}, '
      f'n = {score["n"]})'
    )


def _define_flags() -> None:
  """Not at import: notebooks and studies import `run` from here."""
  config_flags.DEFINE_config_file(
    'config', None, 'configs/finetune.py:TASK', lock_config=True
  )
  flags.DEFINE_string(
    'checkpoint', None, 'Workdir of a run, or folder of one checkpoint.'
  )
  flags.DEFINE_string('workdir', None, 'Folder of the result.')
  flags.mark_flags_as_required(['config', 'checkpoint', 'workdir'])


if __name__ == '__main__':
  _define_flags()
  run_command(main)
