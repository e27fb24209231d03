import math

import numpy as np
import pytest
from scipy import stats

from scaling import bootstrap, chinchilla
from scaling.fit import fit_law
from scaling.forecast import forecast, score_forecast

NOISE = 0.003


def _draw(points, estimate, **changes):
  options = {
    'delta': math.inf,
    'seed_variance': 0.0,
    'resamples': 2000,
    'seed': 0,
  }
  return bootstrap.noise_bootstrap(
    chinchilla, points, estimate, **options | changes
  )


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, NOISE, np.random.default_rng(0))


@pytest.fixture(scope='module')
def estimate(points):
  return chinchilla.estimate(points, math.inf)


def test_residual_variance_by_hand(as_points):
  flat = np.array([1.0, 0, 0, 1, 1])
  points = as_points([1] * 7, [1] * 7, np.exp([1, -1, 0, 0, 0, 0, 0]))
  estimate = chinchilla.Estimate(flat, 0.0, True)
  # Two squared residuals of 1 over 7 - 5 degrees of freedom.
  assert bootstrap.residual_variance(
    chinchilla, points, estimate
  ) == pytest.approx(1.0)


def test_spread_is_that_of_the_linearised_law(points, estimate):
  """Parameters in the limit of small noise: t about the fit, by theory."""
  small = points.take(range(14))
  fitted = chinchilla.predict(estimate.params, points.params, points.tokens)
  shrunk = fitted * (points.value / fitted) ** 1e-3
  small.value[:] = shrunk
  at = chinchilla.estimate(small, math.inf)
  drawn = _draw(small, at)
  jacobian = np.empty((14, 5))
  for column in range(5):
    step = at.params * (np.arange(5) == column) * 1e-5
    up, down = (
      np.log(chinchilla.predict(p, small.params, small.tokens))
      for p in (at.params + step, at.params - step)
    )
    jacobian[:, column] = (up - down) / (2 * step[column])
  variance = bootstrap.residual_variance(chinchilla, small, at)
  spread = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * variance)
  low, high = np.quantile(drawn.samples, [0.05, 0.95], axis=0)
  expected = stats.t.ppf(0.95, 14 - 5) * spread
  np.testing.assert_allclose((high - low) / 2, expected, rtol=0.08)


def test_seed_noise_is_the_least_noise(points, estimate):
  quiet = _draw(points, estimate, resamples=200)
  loud = _draw(points, estimate, resamples=200, seed_variance=0.02**2)
  residual = bootstrap.residual_variance(chinchilla, points, estimate)
  ratio = np.median(loud.noise) / np.median(quiet.noise)
  assert ratio == pytest.approx(0.02 / residual**0.5)
  lower = _draw(points, estimate, resamples=200, seed_variance=1e-12)
  np.testing.assert_array_equal(lower.noise, quiet.noise)


def test_draws_repeat_by_seed(points, estimate):
  one, two, other = (
    _draw(points, estimate, resamples=50, seed=seed) for seed in (3, 3, 4)
  )
  np.testing.assert_array_equal(one.samples, two.samples)
  assert not np.array_equal(one.samples, other.samples)


def test_refits_converge_where_the_law_is_hardly_identified(ladder):
  """No E to be found, and noise far above Huber's delta: flat with kinks."""
  nearly_flat = np.array([0.0, 5.9, 3.2e4, 0.04, 0.82])
  points = ladder(nearly_flat, 0.013, np.random.default_rng(0))
  estimate = chinchilla.estimate(points)
  drawn = _draw(points, estimate, delta=chinchilla.DELTA, resamples=60)
  assert drawn.failed == 0


def test_forecasts_cover_as_often_as_they_say(truth, ladder, law):
  """100 ladders of 14 rungs, a new run at 4x the compute of the largest."""
  rng = np.random.default_rng(11)
  n, d = 1.58e6, 6.4e6  # twice the largest size and budget
  truth_value = law(truth, n, d)
  covered, width, count = 0, [], 100
  for trial in range(count):
    points = ladder(truth, NOISE, rng)
    fit = fit_law(points, delta=math.inf, resamples=150, seed=trial)
    run = truth_value * np.exp(NOISE * rng.standard_normal())
    score = score_forecast(forecast(fit, n, d, 6 * n * d), run)
    covered += score.covered
    width.append(score.half_width_share)
  # Chance of leaving this band at a true coverage of 90% is 0.2%.
  low, high = stats.binom.ppf([0.001, 0.999], count, 0.9)
  assert low <= covered <= high, covered / count
  assert np.median(width) < 0.03
