"""What a next run narrows, against linear models and against refits."""

import math
from typing import Any

import numpy as np
import pytest

from scaling.fit import fit_law
from scaling.laws.chinchilla import CHINCHILLA
from scaling.next_run import TIERS, next_runs, reduction

OPTIONS: dict[str, Any] = {
  'delta': math.inf,
  'resampling': 'noise',
  'resamples': 300,
}
TARGET: dict[str, Any] = {'params': 3e6, 'tokens': 1.5e7}


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.002, np.random.default_rng(3))


@pytest.fixture(scope='module')
def fit(points):
  return fit_law(points, **OPTIONS)


def test_a_linear_model_is_exact():
  """s^2 c^T ((X^T X)^-1 - (X^T X + g g^T)^-1) c, from draws of a covariance."""
  rng = np.random.default_rng(0)
  design_MxP, s = rng.standard_normal((12, 3)), 0.3
  c, candidates_CxP = rng.standard_normal(3), rng.standard_normal((5, 3))
  precision = design_MxP.T @ design_MxP
  # Draws whose sample covariance is exactly s^2 (X^T X)^-1.
  white = rng.standard_normal((50, 3))
  white -= white.mean(axis=0)
  white = np.linalg.qr(white)[0] * math.sqrt(49)
  draws_RxP = white @ np.linalg.cholesky(np.linalg.inv(precision)).T * s
  found = reduction(draws_RxP @ c, draws_RxP @ candidates_CxP.T, s**2)
  exact = [
    s**2
    * c
    @ (np.linalg.inv(precision) - np.linalg.inv(precision + np.outer(g, g)))
    @ c
    for g in candidates_CxP
  ]
  np.testing.assert_allclose(found, exact, rtol=1e-9)


def log_forecast(fit):
  columns = {name: np.array([size]) for name, size in TARGET.items()}
  return np.log(CHINCHILLA.predict(fit.samples, columns)[:, 0])


@pytest.mark.parametrize('key', ['variance_share', 'variance_per_flop'])
def test_refits_narrow_as_told(fit, points, as_points, law, key):
  """Simulated next runs are added and all is fitted again."""
  rows = next_runs(fit, **TARGET, most_flops=6 * 1.5e6 * 6e6)
  row = max(rows, key=lambda row: row[key])
  n, d = (np.append(points[k], row[k]) for k in ('params', 'tokens'))
  rng = np.random.default_rng(1)
  variance = np.mean(fit.noise**2)
  left = []
  for _ in range(7):
    shift = np.sqrt(variance) * rng.standard_normal()
    value = law(fit.params_P, n[-1], d[-1]) * np.exp(shift)
    again = fit_law(as_points(n, d, np.append(points.value, value)), **OPTIONS)
    # At equal noise: how well that itself is known is not what is told.
    left.append(
      np.var(log_forecast(again)) * variance / np.mean(again.noise**2)
    )
  share = np.median(left) / np.var(log_forecast(fit))
  assert share == pytest.approx(1 - row['variance_share'], rel=0.2)


def test_rows_are_cheap_enough_and_the_best_per_flop_first(fit):
  most = 6 * 1.5e6 * 6e6
  rows = next_runs(fit, **TARGET, most_flops=most)
  assert 2 <= len(rows) < len(TIERS)
  assert all(row['flops'] <= most for row in rows)
  per_flop = [row['variance_per_flop'] for row in rows]
  assert per_flop == sorted(per_flop, reverse=True)
  for row in rows:
    assert row['flops'] == pytest.approx(6 * row['params'] * row['tokens'])
    left = (row['log_loss_sd_then'] / row['log_loss_sd_now']) ** 2
    assert left == pytest.approx(1 - row['variance_share'])
    ratio = row['tokens'] / row['params'] / 5
    assert 0.099 < ratio < 10.01
    assert row['params'] >= 25e3 * 0.999


def test_there_may_be_none(fit, points):
  assert next_runs(fit, **TARGET, most_flops=1e9) == []
  few = fit_law(points.take(range(9)), **OPTIONS)
  assert next_runs(few, **TARGET, most_flops=1e14) == []
