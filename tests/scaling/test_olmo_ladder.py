"""The task ladder of Bhagia et al. 2024, arXiv:2412.04403, on its own runs."""

import csv
from pathlib import Path

import numpy as np
import pytest

from scaling.chain import fit_chain, forecast_chain
from scaling.fit import fit_law
from scaling.forecast import forecast
from scaling.points import Points

DATA = (
  Path(__file__).parents[2].parent
  / 'shared/data/scaling/olmo_ladder/ladder-runs'
)
pytestmark = pytest.mark.skipif(
  not DATA.is_dir(), reason='shared/data/scaling/olmo_ladder is absent'
)
# Parameters and training FLOPs a token, of the ladder's own table.
SIZES = {
  '190M': (190354176, 1903391232),
  '370M': (371262464, 3443922944),
  '760M': (758220288, 6373843968),
  '1B': (1279395840, 10109071360),
}
LENGTHS = ('1xC', '2xC', '5xC', '10xC')
# By the accuracy of chance.
TASKS = {
  'mmlu': 0.25,
  'hellaswag_val': 0.25,
  'arc_easy_test': 0.25,
  'arc_challenge_test': 0.25,
  'piqa_val': 0.5,
  'csqa_val': 0.2,
  'socialiqa_val': 1 / 3,
  'openbookqa_test': 0.25,
}
LAST = 5  # checkpoints that a run's value is the mean of


# Of the four groups of MMLU in its mean.
MMLU = {
  'mmlu_stem_test': 0.215,
  'mmlu_humanities_test': 0.335,
  'mmlu_social_sciences_test': 0.219,
  'mmlu_other_test': 0.231,
}


def read(size, length, task):
  """Tokens, bits per byte and accuracy of every checkpoint of a run."""
  groups = MMLU if task == 'mmlu' else {task: 1.0}
  with (DATA / f'{size}-{length}.csv').open() as file:
    rows = [row for row in csv.DictReader(file)]

  def mean(row, kind, suffix):
    return sum(
      weight * float(row[f'eval/{kind}/{name}_rc_5shot_{suffix}'])
      for name, weight in groups.items()
    )

  return np.array(
    [
      (
        float(row['_step']) * float(row['batch_size_in_tokens']),
        mean(row, 'downstream_bpb', 'bpb'),
        mean(row, 'downstream', 'len_norm'),
      )
      for row in rows
      if row['eval/downstream_bpb/piqa_val_rc_5shot_bpb']
    ]
  ).T


def rungs(task, sizes):
  """Losses and scores at the end, and scores of all later checkpoints."""
  ends, curves = [], []
  for size in sizes:
    for length in LENGTHS:
      n, per_token = SIZES[size]
      d, loss, score = read(size, length, task)
      end = [np.mean(column[-LAST:]) for column in (loss, score)]
      ends.append((n, d[-1], per_token * d[-1], *end))
      kernel = np.ones(LAST) / LAST
      smooth = [np.convolve(c, kernel, 'valid') for c in (loss, score)]
      late = d[LAST - 1 :] > 0.1 * d[-1]
      curves.append(np.stack(smooth)[:, late])
  return np.array(ends).T, np.concatenate(curves, axis=1)


def as_points(columns, value):
  zero = np.zeros(len(value))
  return Points(columns, value, zero, zero, ('',) * len(value), {})


@pytest.fixture(scope='module')
def errors():
  """By task and law: errors at 1.3B in points of accuracy, and coverage."""
  found = {}
  for task, chance in TASKS.items():
    (n, d, flops, loss, score), (losses, scores) = rungs(
      task, ['190M', '370M', '760M']
    )
    inputs = {'params': n, 'tokens': d, 'flops': flops}
    # The anchor of the paper: no loss, no error.
    scored = as_points({'loss': np.append(losses, 1e-3)}, np.append(scores, 1))
    chain = fit_chain(
      as_points(inputs, loss), scored, fixed={'b': chance}, resamples=200
    )
    direct = fit_law(
      as_points(inputs, score), 'direct', fixed={'b': chance}, resamples=200
    )
    truths, _ = rungs(task, ['1B'])
    for n, d, flops, loss, score in truths.T:
      at = {'params': n, 'tokens': d, 'flops': flops}
      first, second = forecast_chain(chain, at, items=10**6)
      alone = forecast(direct, at)
      found.setdefault(task, []).append(
        (
          first.value / loss - 1,
          second.value - score,
          alone.value - score,
        )
      )
  return {task: np.array(rows) for task, rows in found.items()}


def test_losses_are_forecast_within_a_few_per_cent(errors):
  for task, rows in errors.items():
    assert np.mean(np.abs(rows[:, 0])) < 0.05, task
  everything = np.concatenate([np.abs(rows[:, 0]) for rows in errors.values()])
  assert np.mean(everything) < 0.02


# Mean absolute errors at 1.3B in points, by the chain and directly, as told in
# docs/laws.md.
ERRORS = {
  'mmlu': (0.43, 0.70),
  'hellaswag_val': (1.57, 1.59),
  'arc_easy_test': (2.15, 0.70),
  'arc_challenge_test': (0.87, 1.91),
  'piqa_val': (1.09, 0.45),
  'csqa_val': (1.06, 1.33),
  'socialiqa_val': (0.82, 0.32),
  'openbookqa_test': (1.11, 1.47),
}


def test_scores_are_forecast_within_points(errors):
  found = {
    task: 100 * np.mean(np.abs(rows[:, 1:3]), axis=0)
    for task, rows in errors.items()
  }
  for task, expected in ERRORS.items():
    assert found[task] == pytest.approx(expected, abs=0.02), task
