import dataclasses

import numpy as np
import pytest

from configs.errors import UserError
from scaling import points
from scaling.records import Record

BASE = Record(
  run='a',
  config_digest='',
  family='decoder',
  objective='causal',
  size='nest-25k',
  params_total=90,
  params_non_embedding=25,
  params_active=60,
  tokens=10,
  unique_tokens=10,
  flops=600,
  flops_convention='3x forward',
  step=5,
  seed=0,
  schedule_phase='end',
  task='heldout',
  shots=0,
  metric='loss',
  value=3.0,
  stderr=None,
  n=None,
  seconds=None,
  energy_joules=None,
  cost_usd=None,
)


def change(**changes):
  return dataclasses.replace(BASE, **changes)


def test_points_take_one_metric_and_convention():
  records = [
    BASE,
    change(metric='bits_per_byte', value=1.0),
    change(run='b', params_total=180, seed=3, value=2.5),
    change(task='choice', value=0.5),
  ]
  view = points.points(records, params='total')
  np.testing.assert_array_equal(view['params'], [90, 180])
  np.testing.assert_array_equal(view.value, [3.0, 2.5])
  np.testing.assert_array_equal(view.seed, [0, 3])
  assert view.value.dtype == np.float64
  assert view.size == ('nest-25k', 'nest-25k')
  assert view.conventions == {
    'params': 'total',
    'flops': '3x forward',
    'value': 'heldout/loss',
  }
  assert points.points(records, params='active')['params'][0] == 60


def test_take_keeps_rows_in_order():
  view = points.points([change(value=v) for v in (1, 2, 3)])
  np.testing.assert_array_equal(view.take([2, 0]).value, [3, 1])


@pytest.mark.parametrize(
  'records, options, message',
  [
    ([BASE], {'params': 'all'}, "params = 'all': choose from"),
    ([BASE], {'task': 'choice'}, 'there are heldout/loss/0-shot'),
    ([], {}, 'there are none at all'),
    (
      [BASE, change(flops_convention='6ND')],
      {},
      r'several ways \(3x forward, 6ND\)',
    ),
  ],
)
def test_points_mistakes_are_named(records, options, message):
  with pytest.raises(UserError, match=message):
    points.points(records, **options)


def test_scores_pair_run_and_step():
  accuracy = {'task': 'choice', 'metric': 'accuracy', 'n': 100}
  records = [
    change(value=3.0),
    change(step=9, value=2.0),
    change(run='b', value=2.5),
    change(**accuracy, step=9, value=0.5, stderr=0.05),
    change(**accuracy, run='b', value=1.0, stderr=0.0),
    change(**accuracy, run='c', value=0.1, stderr=0.03),
  ]
  view = points.scores(records, task='choice')
  np.testing.assert_array_equal(view['loss'], [2.0, 2.5])
  np.testing.assert_array_equal(view.value, [0.5, 1.0])
  # By hand: (100 + 2) / 104, sqrt(p (1 - p) / 104).
  np.testing.assert_allclose(view.stderr, [0.05, 0.0134668], rtol=1e-5)


@pytest.mark.parametrize(
  'record, message',
  [
    (change(task='choice', metric='accuracy', run='z', n=9), 'no run has both'),
    (change(task='choice', metric='accuracy', value=0.5), 'no number of items'),
  ],
)
def test_scores_mistakes_are_named(record, message):
  with pytest.raises(UserError, match=message):
    points.scores([BASE, record], task='choice')


def test_average_seeds_pools_their_variance(as_points):
  n, d = [1, 1, 1, 2, 2, 3], [5, 5, 5, 5, 5, 5]
  log_value = np.array([1.0, 1.1, 1.2, 0.5, 0.7, 0.2])
  view = as_points(n, d, np.exp(log_value), seed=[0, 1, 2, 0, 1, 0])
  rungs = points.average_seeds(view, ('params', 'tokens'))
  np.testing.assert_array_equal(rungs.points['params'], [1, 2, 3])
  np.testing.assert_allclose(np.log(rungs.points.value), [1.1, 0.6, 0.2])
  # Squares about the means: 0.01 + 0 + 0.01 and 0.01 + 0.01.
  assert rungs.variance == pytest.approx(0.04 / 3)
  assert rungs.freedom == 3
  np.testing.assert_array_equal(rungs.runs, [3, 2, 1])
  np.testing.assert_allclose(rungs.deviations[1], [-0.1, 0.1])


def test_average_seeds_leaves_rows_of_one_seed_apart(as_points):
  view = as_points([1, 1], [5, 5], [2.0, 3.0])
  rungs = points.average_seeds(view, ('params', 'tokens'))
  np.testing.assert_allclose(rungs.points.value, [2.0, 3.0])
  assert (rungs.variance, rungs.freedom) == (0.0, 0)
