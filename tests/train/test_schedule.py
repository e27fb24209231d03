"""Schedules against their formulas and against optax's."""

import dataclasses

import numpy as np
import optax
import pytest

from configs.errors import UserError
from configs.tree import to_dataclass
from train.config import RunConfig
from train.optimizer_config import OptimizerConfig, ScheduleConfig
from train.schedule import learning_rate

PEAK = 0.5
ADAMW = OptimizerConfig(PEAK, 0.9, 0.99, 1e-8, 0.1, 1.0)
WARMUP = 4


def _rates(kind, num_steps, **changes):
  values = {'warmup_steps': WARMUP, 'decay_steps': 5, 'final_ratio': 0.0}
  schedule = ScheduleConfig(kind=kind, **(values | changes))
  schedule.validate()
  return np.array(
    [learning_rate(ADAMW, schedule, s, num_steps) for s in range(num_steps)]
  )


@pytest.mark.parametrize(
  'kind', ['wsd', 'cosine', 'linear', 'inverse_sqrt', 'constant']
)
def test_all_warm_up_to_the_peak(kind):
  rates = _rates(kind, 30, final_ratio=0.1)
  np.testing.assert_allclose(rates[:5], PEAK * np.arange(1, 6) / 5)
  assert (rates[5:] <= PEAK).all()
  assert _rates(kind, 30, warmup_steps=0)[0] == pytest.approx(PEAK)


def test_wsd_stays_and_decays_to_nothing():
  rates = _rates('wsd', 20)
  np.testing.assert_allclose(rates[4:15], PEAK)
  np.testing.assert_allclose(rates[15:], PEAK * np.arange(5, 0, -1) / 6)


def test_wsd_decays_by_one_minus_the_root():
  rates = _rates('wsd', 20, decay='sqrt', final_ratio=0.2)
  np.testing.assert_allclose(rates[4:15], PEAK)
  shape = 1 - np.sqrt(np.arange(1, 6) / 6)
  np.testing.assert_allclose(rates[15:], PEAK * (0.2 + 0.8 * shape))


def test_wsd_runs_of_two_lengths_agree_until_the_shorter_decays():
  short, long = _rates('wsd', 20), _rates('wsd', 40)
  np.testing.assert_array_equal(short[:15], long[:15])
  assert short[15] != long[15]


def test_cosine_agrees_with_optax():
  rates = _rates('cosine', 30, final_ratio=0.1)[4:]
  expected = optax.cosine_decay_schedule(PEAK, 26, alpha=0.1)
  np.testing.assert_allclose(
    rates, [expected(step) for step in range(26)], rtol=1e-6
  )


def test_linear_agrees_with_optax():
  rates = _rates('linear', 30, final_ratio=0.1)
  expected = optax.join_schedules(
    [
      optax.linear_schedule(PEAK / 5, PEAK, 4),
      optax.linear_schedule(PEAK, PEAK / 10, 26),
    ],
    [4],
  )
  np.testing.assert_allclose(
    rates, [expected(step) for step in range(30)], rtol=1e-6
  )


def test_inverse_sqrt_falls_to_half_at_four_times_the_warm_up():
  rates = _rates('inverse_sqrt', 100)
  assert rates[19] == pytest.approx(PEAK / 2)  # the 20th step; the 5th is full
  assert rates[44] == pytest.approx(PEAK / 3)
  # Whatever the length of the run.
  np.testing.assert_array_equal(rates[:50], _rates('inverse_sqrt', 50))


def test_constant_agrees_with_optax():
  expected = optax.warmup_constant_schedule(PEAK / 5, PEAK, 4)
  np.testing.assert_allclose(
    _rates('constant', 12), [expected(step) for step in range(12)], rtol=1e-6
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'kind': 'cosin'}, r"schedule\.kind = 'cosin': choose from wsd, cosine"),
    ({'decay': 'root'}, r"schedule\.decay = 'root': choose from linear, sqrt"),
    ({'warmup_steps': -1}, r'schedule\.warmup_steps = -1: at least 0'),
    ({'final_ratio': 1.5}, r'schedule\.final_ratio = 1\.5: in \[0, 1\]'),
  ],
)
def test_values_out_of_range_are_refused(changes, message):
  schedule = ScheduleConfig('wsd', 4, 5, 0.0)
  with pytest.raises(UserError, match=message):
    dataclasses.replace(schedule, **changes).validate()


def test_a_config_without_the_younger_keys_means_what_it_did(tiny_config):
  tree = tiny_config.to_dict()
  whole = to_dataclass(RunConfig, tree)
  for section, keys in {
    'optimizer': (
      'kind',
      'momentum',
      'update_rms',
      'state_dtype',
      'clip_block_norm',
      'ema_decay',
    ),
    'schedule': ('decay',),
    'train': ('spike',),
  }.items():
    for key in keys:
      del tree[section][key]
  assert to_dataclass(RunConfig, tree) == whole
