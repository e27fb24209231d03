"""Scores a checkpoint on tasks.

  python -m evals.run --checkpoint=CKPT --tasks=heldout,continuation --shots=0 \
    --out=FILE.json
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from tqdm import tqdm

from configs.command import run_command
from configs.errors import UserError
from configs.files import write_json
from evals import tasks as registry
from train.pretrained import load_pretrained


def evaluate(
  checkpoint: pathlib.Path | str,
  tasks: Sequence[str],
  shots: int = 0,
  limit: int = 0,
  step: int | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> dict[str, Any]:
  """Scores a checkpoint.

  Args:
    checkpoint: a run's workdir, or a checkpoint folder.
    tasks: names in `evals.tasks.TASKS`.
    shots: worked examples in a prompt.
    limit: items of each task; 0 = its usual number.
    step: of a workdir, which checkpoint; None means the newest.
    devices: to use; all by default.

  Returns:
    `{checkpoint, tasks: {name: {metric: {value, stderr, n}}}}`; accuracies
    have an `interval` too. `checkpoint` is the folder of the one scored.

  Raises:
    UserError: no such checkpoint or task, a model of an architecture that a
      task is not for, or a number below 0.
  """
  for key, number in (('shots', shots), ('limit', limit)):
    if number < 0:
      raise UserError(f'{key} = {number}: at least 0')
  if not tasks:
    raise UserError('no task: choose from ' + ', '.join(registry.TASKS))
  chosen = {name: registry.named(name) for name in tasks}
  pretrained = load_pretrained(checkpoint, step, devices=devices)
  found = {}
  for name, task in tqdm(chosen.items(), unit=' tasks', desc='evaluating'):
    scores = task(pretrained, shots, limit)
    found[name] = {metric: score.as_json() for metric, score in scores.items()}
  return {'checkpoint': str(pretrained.folder), 'tasks': found}


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  given = flags.FLAGS
  scores = evaluate(
    given.checkpoint, given.tasks, given.shots, given.limit, given.step
  )
  write_json(pathlib.Path(given.out), scores)
  for name, metrics in scores['tasks'].items():
    for metric, score in metrics.items():
      print(
        f'{name} {metric}: {score["value"]:.4f} +- {score["stderr"]:.4f} '
        f'(n = {score["n"]})'
      )


def _define_flags() -> None:
  """Not at import: notebooks and studies import `evaluate` from here."""
  names = list(registry.TASKS)
  flags.DEFINE_string(
    'checkpoint', None, 'Workdir of a run, or folder of one checkpoint.'
  )
  flags.DEFINE_integer(
    'step', None, 'Of a workdir, which checkpoint; by default the newest.'
  )
  flags.DEFINE_list('tasks', names, 'Which, of ' + ', '.join(names) + '.')
  flags.DEFINE_integer('shots', 0, 'Worked examples in a prompt.')
  flags.DEFINE_integer('limit', 0, 'Items of a task; 0: its usual number.')
  flags.DEFINE_string('out', None, 'JSON file to write.')
  flags.mark_flags_as_required(['checkpoint', 'out'])


if __name__ == '__main__':
  _define_flags()
  run_command(main)
