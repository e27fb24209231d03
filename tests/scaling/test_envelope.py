"""The envelope of training curves, and laws through optima."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import spatial

from configs.errors import UserError
from scaling.allocation import power_laws
from scaling.envelope import fit_envelope
from scaling.fitted import fit_from_json
from scaling.isoflop import predict

EPOCH = (
  Path(__file__).parents[2].parent
  / 'shared/data/scaling/epoch_chinchilla/svg_extracted_data.csv'
)
LAW = (1.82, 482.0, 2085.0, 0.348, 0.366)  # E, A, B, alpha, beta


def curves(sizes, checkpoints, noise=0.0, seed=0):
  """Runs of sizes from 1e7 to 1e10, each from 1 to 200 tokens a parameter."""
  E, A, B, alpha, beta = LAW
  n = np.repeat(np.geomspace(1e7, 1e10, sizes), checkpoints)
  d = n * np.tile(np.geomspace(1, 200, checkpoints), sizes)
  shock = noise * np.random.default_rng(seed).standard_normal(len(n))
  loss = (E + A / n**alpha + B / d**beta) * np.exp(shock)
  return {'params': n, 'tokens': d, 'flops': 6 * n * d, 'loss': loss}


def best_size(flops):
  """Hoffmann et al. 2022, equation 4."""
  _, A, B, alpha, beta = LAW
  G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  return G * (flops / 6) ** (beta / (alpha + beta))


def test_known_law():
  found = fit_envelope(curves(16, 200), resamples=50)
  _, _, _, alpha, beta = LAW
  params = found.fit.params
  assert params['a'] == pytest.approx(beta / (alpha + beta), abs=0.003)
  assert params['b'] == pytest.approx(1 - params['a'], abs=1e-9)
  split = predict(found.fit, [1e19, 1e21])
  assert split.params == pytest.approx(best_size(np.array([1e19, 1e21])), 0.02)
  low, high = found.fit.intervals['a']
  assert low < beta / (alpha + beta) < high


def test_few_sizes():
  """Six sizes, half a decade apart and more: still within .01."""
  found = fit_envelope(curves(6, 50), resamples=50)
  assert found.fit.params['a'] == pytest.approx(0.5126, abs=0.01)


def test_noise_widens_intervals():
  widths = []
  for noise in (0.002, 0.02):
    data = curves(16, 60, noise)
    low, high = fit_envelope(data, resamples=100).fit.intervals['a']
    assert low < 0.5126 < high
    widths.append(high - low)
  assert widths[0] < widths[1]


def test_corners_are_of_the_convex_hull():
  data = curves(9, 40, 0.01)
  optima = fit_envelope(data, resamples=10).optima
  points = np.log(np.column_stack([data['flops'], data['loss']]))
  hull = spatial.ConvexHull(points)
  lower = {
    row
    for facet, plane in zip(hull.simplices, hull.equations, strict=True)
    for row in facet.tolist()
    if plane[1] < 0
  }
  expected = {
    data['flops'][row]
    for row in lower
    if 1e7 < data['params'][row] < 0.999e10
    and data['flops'][row] < data['flops'][np.argmin(data['loss'])]
  }
  assert set(optima.flops) == expected


def test_edges_are_dropped():
  data = curves(9, 40)
  optima = fit_envelope(data, resamples=10).optima
  assert np.min(optima.params) > np.min(data['params'])
  assert np.max(optima.params) < np.max(data['params'])


def test_tokens_from_flops():
  data = curves(9, 40)
  whole = fit_envelope(data, resamples=10).fit
  del data['tokens']
  assert fit_envelope(data, resamples=10).fit.params == pytest.approx(
    whole.params
  )


def test_without_each_size():
  """What is left out is a size with all its checkpoints."""
  data = curves(9, 40, 0.005)
  found = fit_envelope(data, resamples=10)
  sizes = np.unique(found.optima.params)
  assert found.without.shape == (len(sizes), 4)
  kept = data['params'] != sizes[1]
  less = fit_envelope({k: v[kept] for k, v in data.items()}, resamples=10)
  assert found.without[1] == pytest.approx(less.fit.params_P)


def test_json():
  fit = fit_envelope(curves(9, 40), resamples=10).fit
  again = fit_from_json(fit.to_json())
  assert again.params == fit.params
  assert again.warnings == fit.warnings
  np.testing.assert_array_equal(again.samples, fit.samples)


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    ({'flops': None, 'tokens': None}, 'no column flops'),
    ({'params': None, 'tokens': None}, 'params or tokens'),
    ({'params': np.full(80, 1e8)}, 'add sizes'),
  ],
)
def test_errors(change, said):
  data = {k: v for k, v in (curves(2, 40) | change).items() if v is not None}
  with pytest.raises(UserError, match=said):
    fit_envelope(data)


def test_power_laws_are_weighted_least_squares():
  rng = np.random.default_rng(0)
  x, y = rng.uniform(40, 50, 12), rng.uniform(20, 30, (2, 12))
  weight = rng.uniform(0.1, 4, (2, 12))
  found = power_laws(x, y, weight)
  for row in range(2):
    slope, intercept = np.polyfit(x, y[row], 1, w=np.sqrt(weight[row]))
    assert found[2 * row + 1] == pytest.approx(slope)
    assert np.log(found[2 * row]) == pytest.approx(intercept)


def test_power_laws_of_one_budget():
  x, y = np.array([40.0, 40.0, 41.0]), np.array([[1.0, 2, 3], [4, 5, 6]])
  assert np.all(np.isnan(power_laws(x, y, np.tile([1.0, 1, 0], (2, 1)))))
  assert np.all(np.isnan(power_laws(x, y, np.zeros((2, 3)))))


@pytest.mark.skipif(
  not EPOCH.is_file(), reason='shared/data/scaling/epoch_chinchilla is absent'
)
def test_chinchilla_runs():
  """Approach three has a = .3672 / (.3473 + .3672) = .514 on these runs."""
  with EPOCH.open() as file:
    rows = list(csv.DictReader(file))
  n, flops, loss = (
    np.array([float(row[name]) for row in rows])
    for name in ('Model Size', 'Training FLOP', 'loss')
  )
  found = fit_envelope({'params': n, 'flops': flops, 'loss': loss})
  low, high = found.fit.intervals['a']
  assert low < 0.514 < high
