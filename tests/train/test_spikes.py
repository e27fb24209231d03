"""Spikes in made-up losses, by hand and against scipy."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from train.spikes import SpikeConfig, SpikeDetector

CONFIG = SpikeConfig(action='skip', window_steps=16, threshold=6.0)


def _losses(count):
  """A falling loss and a gradient norm, both with noise; float32 values."""
  random = np.random.default_rng(0)
  trend = 5 * (np.arange(count) + 10.0) ** -0.1
  values = np.stack(
    [
      trend + random.normal(0, 0.05, count),
      1 + random.normal(0, 0.1, count),
    ],
    axis=1,
  )
  return values.astype(np.float32).tolist()


def _fed(values, config=CONFIG, first=1):
  """A detector that has seen some steps, and whether each was a spike."""
  detector = SpikeDetector(config)
  spikes = [
    detector.observe(step, *value) for step, value in enumerate(values, first)
  ]
  return detector, spikes


def test_noise_is_no_spike():
  _, spikes = _fed(_losses(400))
  assert not any(spikes)


@pytest.mark.parametrize(
  'value',
  [(9.0, 1.0), (4.0, 5.0), (np.nan, 1.0), (4.0, np.inf)],
  ids=['loss', 'gradient', 'nan', 'inf'],
)
def test_a_jump_is_a_spike_and_what_follows_is_none(value):
  values = _losses(60)
  values[40] = value
  _, spikes = _fed(values)
  assert np.flatnonzero(spikes).tolist() == [40]


def test_the_limit_is_that_of_scipy():
  values = _losses(50)
  detector, _ = _fed(values)
  # Of step 52 those up to 50 are known, the last 16 of which count.
  known = np.array(values[34:50])
  spread = stats.median_abs_deviation(known, scale='normal')
  np.testing.assert_allclose(
    detector.limits(52), np.median(known, axis=0) + 6 * spread, rtol=1e-4
  )


def test_the_limit_is_the_same_whenever_the_step_before_is_settled():
  values = _losses(51)
  detector, _ = _fed(values[:50])
  before = detector.limits(52)
  detector.observe(51, *values[50])
  np.testing.assert_array_equal(detector.limits(52), before)
  assert (detector.limits(53) != before).any()


def test_half_a_window_is_awaited():
  detector, _ = _fed(_losses(8))
  assert np.isinf(detector.limits(9)).all()  # of the first 7
  assert np.isfinite(detector.limits(10)).all()


def test_a_change_that_lasts_is_no_spike_for_long():
  values = _losses(60)
  for value in values[30:]:
    value[0] += 3
  _, spikes = _fed(values)
  assert spikes[30] and sum(spikes) <= CONFIG.window_steps
  assert not any(spikes[-8:])


def test_a_window_of_spikes_ends_the_run():
  detector, _ = _fed(_losses(20))
  for step in range(21, 36):
    assert detector.observe(step, np.nan, np.nan)
  with pytest.raises(UserError, match='16 steps up to 36 are spikes'):
    detector.observe(36, np.nan, np.nan)


def test_a_state_written_as_json_goes_on_alike():
  values = _losses(80)
  values[70] = (50.0, 1.0)
  whole, spikes = _fed(values)
  half, _ = _fed(values[:40])
  resumed = SpikeDetector(CONFIG)
  resumed.restore(json.loads(json.dumps(half.state())))
  later = [resumed.observe(n + 1, *values[n]) for n in range(40, 80)]
  assert later == spikes[40:]
  assert resumed.state() == whole.state()
  np.testing.assert_array_equal(resumed.limits(81), whole.limits(81))


REWIND = dataclasses.replace(
  CONFIG, action='rewind', margin_steps=10, max_rewinds=2
)


def test_a_rewind_goes_back_before_the_margin_and_on_behind_it():
  values = _losses(60)
  detector, _ = _fed(values[:30], REWIND)
  saved = detector.state()
  for step in range(31, 51):
    detector.observe(step, *values[step - 1])
  assert detector.up_to(spike_step=50) == 40
  detector.rewind(50, saved)
  assert detector.state() == saved | {'rewinds': 1}


def test_rewinds_come_to_an_end():
  detector, _ = _fed(_losses(50), REWIND)
  for _ in range(2):
    detector.rewind(50, {})
  with pytest.raises(UserError, match=r'step 50 after 2 rewinds .*= 2\)'):
    detector.rewind(50, {})


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'action': 'stop'}, r"train\.spike\.action = 'stop': choose from none"),
    ({'window_steps': 3}, r'train\.spike\.window_steps = 3: at least 4'),
    ({'threshold': 0.0}, r'train\.spike\.threshold = 0\.0: above 0'),
    ({'margin_steps': -1}, r'train\.spike\.margin_steps = -1: at least 0'),
  ],
)
def test_values_out_of_range_are_refused(changes, message):
  with pytest.raises(UserError, match=message):
    dataclasses.replace(CONFIG, **changes).validate()
