"""The 240 points of Besiroglu et al. 2024, arXiv:2404.10102."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from scaling import bootstrap, chinchilla
from scaling.fit import fit_law

DATA = (
  Path(__file__).parents[2].parent
  / 'shared/data/scaling/epoch_chinchilla/svg_extracted_data.csv'
)
pytestmark = pytest.mark.skipif(
  not DATA.is_file(), reason='shared/data/scaling/epoch_chinchilla is absent'
)


@pytest.fixture(scope='module')
def all_runs(as_points):
  with DATA.open() as file:
    rows = list(csv.DictReader(file))
  n, flops, loss = (
    np.array([float(row[name]) for row in rows])
    for name in ('Model Size', 'Training FLOP', 'loss')
  )
  return as_points(n, flops / (6 * n), loss)


@pytest.fixture(scope='module')
def runs(all_runs):
  """Without the five highest losses, as published."""
  fifth = np.sort(all_runs.value)[-5]
  return all_runs.take(np.flatnonzero(all_runs.value < fifth))


def test_exact_optimum(runs):
  estimate = chinchilla.estimate(runs)
  assert len(runs) == 240
  assert estimate.converged
  assert estimate.objective == pytest.approx(0.00101827401780, rel=1e-6)
  E, A, B, alpha, beta = estimate.params
  assert (E, alpha, beta) == pytest.approx(
    (1.8172181, 0.3473105, 0.3671724), abs=1e-5
  )
  assert pytest.approx(477.8259, rel=1e-4) == A
  assert pytest.approx(2143.417, rel=1e-4) == B


def test_least_absolute_limit(runs):
  estimate = chinchilla.estimate(runs, delta=1e-7)
  assert estimate.converged
  # Of the absolute log residuals.
  assert estimate.objective / 1e-7 == pytest.approx(1.12949470, rel=1e-4)
  E, A, B, alpha, beta = estimate.params
  assert (E, alpha, beta) == pytest.approx(
    (1.81686, 0.34781, 0.36585), abs=1e-3
  )
  assert pytest.approx(482.006, rel=1e-3) == A
  assert pytest.approx(2085.434, rel=5e-3) == B


def test_optimum_with_outliers(all_runs):
  estimate = chinchilla.estimate(all_runs)
  assert estimate.objective == pytest.approx(0.00182601052, rel=1e-6)
  assert estimate.params[4] == pytest.approx(0.453049, abs=1e-4)


def test_bootstrap_standard_errors(runs):
  estimate = chinchilla.estimate(runs)
  begin = time.perf_counter()
  drawn = bootstrap.pairs_bootstrap(
    chinchilla,
    runs,
    estimate,
    delta=1e-3,
    seed_variance=0.0,
    resamples=1000,
    seed=42,
  )
  assert time.perf_counter() - begin < 30
  assert drawn.failed < 0.002
  E, A, B, alpha, beta = np.std(drawn.samples, axis=0)
  assert pytest.approx(124.52232, rel=0.06) == A
  assert pytest.approx(1293.28410, rel=0.15) == B
  assert (E, alpha, beta) == pytest.approx(
    (0.02566, 0.01540, 0.02060), rel=0.05
  )


def test_outliers_are_reported_not_dropped(all_runs, runs):
  fit = fit_law(all_runs, resamples=200)
  assert fit.n == 245
  assert fit.conventions['bootstrap'] == 'pairs'
  assert any('is an outlier' in text for text in fit.warnings)
  clean = fit_law(runs, resamples=200)
  assert not any('is an outlier' in text for text in clean.warnings)
