import json
import math

import numpy as np
import pytest

from configs.errors import UserError
from scaling.fit import fit_law
from scaling.forecast import forecast, score_forecast

N, D = 1.58e6, 6.4e6


def run(n, d):
  return {'params': n, 'tokens': d, 'flops': 6 * n * d}


@pytest.fixture(scope='module')
def fit(truth, ladder):
  points = ladder(truth, 0.003, np.random.default_rng(0))
  return fit_law(points, delta=math.inf, resamples=400)


@pytest.fixture(scope='module')
def loss(fit):
  return forecast(fit, run(N, D))


def test_value_and_ratios(fit, loss, law):
  assert loss.value == pytest.approx(law(fit.params_P, N, D))
  assert loss.lower < loss.value < loss.upper
  assert loss.ratios['params'] == pytest.approx(2)
  # The ladder's dearest rung: 440k parameters at 3.2M tokens.
  assert loss.ratios['flops'] == pytest.approx(1.58 * 6.4 / (0.44 * 3.2))
  json.dumps(loss.to_tree(), allow_nan=False)


def test_a_forecast_repeats_exactly(fit, loss):
  again = forecast(fit, run(N, D))
  assert (again.lower, again.upper) == (loss.lower, loss.upper)


def test_an_interval_widens_with_level_and_distance(fit, loss):
  wide = forecast(fit, run(N, D), level=0.99)
  assert wide.upper - wide.lower > loss.upper - loss.lower
  far = forecast(fit, run(30 * N, 30 * D))
  assert far.upper - far.lower > loss.upper - loss.lower
  assert any('beyond the' in text for text in far.warnings)
  assert not any('beyond the' in text for text in loss.warnings)


def test_the_noise_of_the_run_itself_is_in_the_interval(fit):
  """Inside the data, where the law is known best, noise is most of it."""
  inside = forecast(fit, run(150e3, 1.6e6))
  law_alone = np.std(
    fit.samples[:, 0]
    + fit.samples[:, 1] * 150e3 ** -fit.samples[:, 3]
    + fit.samples[:, 2] * 1.6e6 ** -fit.samples[:, 4]
  )
  noise = np.sqrt(np.mean(fit.noise**2)) * inside.value
  assert np.std(inside.samples) == pytest.approx(
    math.hypot(law_alone, noise), rel=0.1
  )


def test_without_intervals_there_is_a_value_alone(truth, ladder):
  few = fit_law(ladder(truth).take(range(9)), delta=math.inf)
  alone = forecast(few, run(N, D))
  assert (alone.lower, alone.upper) == (None, None)
  assert any('no interval' in text for text in alone.warnings)
  assert score_forecast(alone, alone.value) == (0.0, None, None)


def test_score_of_a_forecast_by_hand(loss):
  truth = loss.value / 1.02
  score = score_forecast(loss, truth)
  assert score.relative_error == pytest.approx(0.02)
  assert score.half_width_share == pytest.approx(
    (loss.upper - loss.lower) / 2 / truth
  )
  assert score_forecast(loss, loss.upper * 1.001).covered is False
  assert score_forecast(loss, loss.upper).covered is True


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({'params': 0, 'tokens': D}, 'params = 0'),
    ({'params': N, 'tokens': -1}, 'tokens = -1'),
    ({'params': N, 'tokens': D, 'flops': math.inf}, 'flops = inf'),
    ({'params': N}, 'a forecast of chinchilla needs tokens'),
  ],
)
def test_mistakes_are_named(fit, arguments, message):
  with pytest.raises(UserError, match=message):
    forecast(fit, arguments)


def test_a_truth_of_zero_has_no_relative_error(loss):
  assert score_forecast(loss, 0.0) == (None, False, None)
  with pytest.raises(UserError, match='truth = -1'):
    score_forecast(loss, -1.0)
