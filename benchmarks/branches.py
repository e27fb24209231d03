"""What many token budgets cost from one trunk: `python benchmarks/branches.py`.

A run that warms up and stays gives a model of each budget by a short decay from
a checkpoint of it (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024,
arXiv:2405.18392), where a cosine schedule takes a run of its own for each. Here
are five budgets, each twice the one before it, and decays of a tenth of them;
both ways on the same batches, from the same initial parameters and to the same
peak of the learning rate.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict

from configs import pretrain
from configs.tree import with_overrides
from train import loop, metrics

NUM_BUDGETS = 5
DECAY_SHARE = 10  # a decay is the budget over this
LOG_EVERY = 10  # steps; divides the budgets and their decays


@dataclasses.dataclass(frozen=True)
class Row:
  """One budget, both ways.

  Attributes:
    tokens: of the budget.
    cosine_steps: made for it by a run with a cosine schedule.
    branch_steps: made for it beside those of the trunk; the last budget is the
      trunk's own, and has all of the trunk's.
    cosine_loss: at the end, nats a token of the validation split.
    branch_loss: the same, after the decay.
  """

  tokens: int
  cosine_steps: int
  branch_steps: int
  cosine_loss: float
  branch_loss: float


def compare(
  base: ConfigDict, first_steps: int, folder: pathlib.Path
) -> list[Row]:
  """Trains for five budgets both ways.

  Args:
    base: a pre-training config whose schedule warms up for less than the first
      budget.
    first_steps: of the least budget; a multiple of 100.
    folder: in which a folder of each run is made.
  """
  budgets = [first_steps * 2**n for n in range(NUM_BUDGETS)]
  tokens = base.data.batch_size * base.data.sequence_length

  def train(name: str, overrides: dict[str, Any]) -> tuple[float, int]:
    config = with_overrides(
      base, overrides | {'name': name, 'train.log_every_steps': LOG_EVERY}
    )
    result = loop.run(config, folder / name, show_progress=False)
    # Timing is told of the steps that this run has made itself.
    timed = metrics.read_metrics(folder / name / metrics.TIMING)
    made = timed[-1]['step'] - timed[0]['step']
    return result.metrics['validation_loss'], made

  def decayed(steps: int) -> dict[str, Any]:
    return {
      'train.num_steps': steps,
      'schedule.kind': 'wsd',
      'schedule.decay_steps': steps // DECAY_SHARE,
    }

  starts = tuple(steps - steps // DECAY_SHARE for steps in budgets[:-1])
  trunk = decayed(budgets[-1]) | {'checkpoint.keep_steps': starts}
  ends = [train('trunk', trunk)]
  for steps in reversed(budgets[:-1]):
    branch = {'checkpoint.branch_from': str(folder / 'trunk')}
    ends.append(train(f'branch-{steps}', decayed(steps) | branch))
  rows = []
  for steps, (loss, made) in zip(budgets, reversed(ends), strict=True):
    cosine = {'train.num_steps': steps, 'schedule.kind': 'cosine'}
    cosine_loss, cosine_made = train(f'cosine-{steps}', cosine)
    rows.append(Row(steps * tokens, cosine_made, made, cosine_loss, loss))
  return rows


def cost_share(rows: Sequence[Row]) -> float:
  """Steps of the trunk and its branches over those of the cosine runs."""
  return sum(row.branch_steps for row in rows) / sum(
    row.cosine_steps for row in rows
  )


def table(rows: Sequence[Row]) -> str:
  """The rows and their sum as Markdown."""
  lines = [
    '| tokens | cosine: steps | loss | branch: steps | loss | above |',
    '|---|---|---|---|---|---|',
  ]
  for row in rows:
    above = row.branch_loss / row.cosine_loss - 1
    lines.append(
      f'| {row.tokens:,} | {row.cosine_steps:,} | {row.cosine_loss:.4f} '
      f'| {row.branch_steps:,} | {row.branch_loss:.4f} | {above:+.2%} |'
    )
  lines.append(
    f'| all | {sum(row.cosine_steps for row in rows):,} | '
    f'| {sum(row.branch_steps for row in rows):,} | '
    f'| {cost_share(rows):.0%} of the steps |'
  )
  return '\n'.join(lines)


def recipe(size: str) -> ConfigDict:
  """The config of a size, with a short warm-up and a decay of 1 - sqrt."""
  return with_overrides(
    pretrain.get_config(size),
    {
      'schedule.warmup_steps': 20,
      'schedule.decay': 'sqrt',
      'checkpoint.every_steps': 10**6,
      'train.eval_every_steps': 0,
    },
  )


def main(argv: Sequence[str]) -> None:
  del argv
  args = flags.FLAGS
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(args.workdir or temporary)
    print(table(compare(recipe(args.size), args.first_steps, folder)))


if __name__ == '__main__':
  flags.DEFINE_string('size', 'nest-56k', 'of configs/sizes.py')
  flags.DEFINE_integer('first_steps', 100, 'of the least budget')
  flags.DEFINE_string('workdir', '', "of the runs; '' = a temporary one")
  app.run(main)
