"""The 240 points of Besiroglu et al. 2024, arXiv:2404.10102."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from scaling.estimate import Problem, estimate, refit
from scaling.fit import fit_law
from scaling.laws.chinchilla import CHINCHILLA
from scaling.objective import Objective

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


def optimum(points, delta=1e-3):
  ones = np.ones(len(points))
  return estimate(
    Problem(CHINCHILLA, points, Objective(delta), 'log', ones, {})
  )


def test_exact_optimum(runs):
  found = optimum(runs)
  assert len(runs) == 240
  assert found.converged
  assert found.objective == pytest.approx(0.00101827401780, rel=1e-6)
  E, A, B, alpha, beta = found.params
  assert (E, alpha, beta) == pytest.approx(
    (1.8172181, 0.3473105, 0.3671724), abs=1e-5
  )
  assert pytest.approx(477.8259, rel=1e-4) == A
  assert pytest.approx(2143.417, rel=1e-4) == B


def test_least_absolute_limit(runs):
  found = optimum(runs, 1e-7)
  # Of the absolute log residuals.
  assert found.objective / 1e-7 == pytest.approx(1.12949470, rel=1e-4)
  E, A, B, alpha, beta = found.params
  assert (E, alpha, beta) == pytest.approx(
    (1.81686, 0.34781, 0.36585), abs=1e-3
  )
  assert pytest.approx(482.006, rel=1e-3) == A
  assert pytest.approx(2085.434, rel=5e-3) == B


def test_optimum_with_outliers(all_runs):
  found = optimum(all_runs)
  assert found.objective == pytest.approx(0.00182601052, rel=1e-6)
  assert found.params[4] == pytest.approx(0.453049, abs=1e-4)


def test_published_standard_errors(runs):
  """The 4,000 resamples of the paper: rows drawn by numpy's old generator."""
  problem = Problem(CHINCHILLA, runs, Objective(1e-3), 'log', np.ones(240), {})
  np.random.seed(42)
  rows_RxM = np.stack([np.random.choice(240, 240) for _ in range(4000)])
  weight_RxM = np.stack([np.bincount(rows, minlength=240) for rows in rows_RxM])
  refits = refit(problem, estimate(problem).theta, weight_RxM=weight_RxM)
  assert np.mean(~refits.converged) < 0.002
  E, A, B, alpha, beta = np.std(refits.params[refits.converged], axis=0)
  assert (A, B, E, alpha, beta) == pytest.approx(
    (124.52232, 1293.28410, 0.02566, 0.01540, 0.02060), rel=0.03
  )


def test_bootstrap_standard_errors(runs):
  samples = fit_law(runs, resamples=4000, seed=42).samples
  E, A, B, alpha, beta = np.std(samples, axis=0)
  assert pytest.approx(124.52232, rel=0.06) == A
  assert pytest.approx(1293.28410, rel=0.15) == B
  assert (E, alpha, beta) == pytest.approx(
    (0.02566, 0.01540, 0.02060), rel=0.05
  )


def test_seconds(runs):
  """A tenth of a second for the optimum, five for 4,000 refits, once warm."""
  optimum(runs)
  fit_law(runs, resamples=8)
  begin = time.perf_counter()
  optimum(runs)
  middle = time.perf_counter()
  fit_law(runs, resamples=4000)
  assert middle - begin < 0.1
  assert time.perf_counter() - middle < 5


def test_outliers_are_reported_not_dropped(all_runs, runs):
  fit = fit_law(all_runs, resamples=200)
  assert fit.n == 245
  assert fit.conventions['bootstrap'] == 'pairs'
  assert any('is an outlier' in text for text in fit.warnings)
  clean = fit_law(runs, resamples=200)
  assert not any('is an outlier' in text for text in clean.warnings)
