import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special

from scaling.estimate import Problem, estimate
from scaling.fit import fit_law
from scaling.laws.chinchilla import CHINCHILLA
from scaling.laws.repeated import REPEATED, log_optimal_params
from scaling.objective import Objective
from scaling.table import from_columns

DATA = (
  Path(__file__).parents[3].parent
  / 'shared/data/scaling/datablations/runs_cell60.csv'
)
# As published, E, A and B by their logs.
FIRST = np.array(
  [np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596]
)
PUBLISHED = np.array([*FIRST, 15.387756, 5.309743])
N, U, EPOCHS = (
  axis.ravel()
  for axis in np.meshgrid(
    np.geomspace(2e7, 5e9, 5), [1e8, 1e9], [0.5, 1, 4, 20, 60]
  )
)
AT = {'params': N, 'tokens': U * EPOCHS, 'unique_tokens': U}


def optimum(columns):
  points = from_columns(columns, REPEATED.inputs)
  ones = np.ones(len(points))
  return estimate(Problem(REPEATED, points, Objective(1e-3), 'log', ones, {}))


def test_by_hand():
  # N_opt(U) = (.5 8 / (.5 4))^2 9 = 36, so 2 times too many parameters:
  # N' = 36 + 36 3 (1 - e^(-2 / 3)); of 4 epochs D' = 9 + 9 6 (1 - e^(-3 / 6)).
  at = {'params': [108.0], 'tokens': [36.0], 'unique_tokens': [9.0]}
  value = REPEATED.predict(np.array([1, 8, 4, 0.5, 0.5, 6, 3]), at)
  params = 36 * (1 + 3 * (1 - np.exp(-2 / 3)))
  tokens = 9 * (1 + 6 * (1 - np.exp(-1 / 2)))
  np.testing.assert_allclose(value, [1 + 8 / params**0.5 + 4 / tokens**0.5])


def test_within_one_epoch_it_is_the_law_of_chinchilla():
  """With no more parameters than the tokens call for."""
  tokens = np.array([5e7, 1e9, 1e11])
  at = {'params': np.full(3, 1e6), 'tokens': tokens}
  value = REPEATED.predict(
    PUBLISHED, {**at, 'unique_tokens': tokens * [1, 1, 9]}
  )
  np.testing.assert_allclose(value, CHINCHILLA.predict(FIRST, at), rtol=1e-14)


def test_endless_repetition_is_worth_a_number_of_epochs():
  at = {'params': [1e6, 1e6], 'tokens': [1e30, 1e9 * (1 + 15.387756)]}
  value = REPEATED.predict(PUBLISHED, {**at, 'unique_tokens': [1e9, 1e40]})
  np.testing.assert_allclose(value[0], value[1], rtol=1e-12)


def test_repeated_data_that_do_not_decay_are_new_data():
  """Where 1 - exp has lost all digits."""
  params = np.array([*FIRST, 1e12, 1e12])
  value = REPEATED.predict(params, AT)
  np.testing.assert_allclose(value, CHINCHILLA.predict(FIRST, AT), rtol=1e-9)


def test_optimal_params():
  _, A, B, alpha, beta = FIRST
  fit = np.exp(log_optimal_params(A, B, alpha, beta, np.log(1e8)))
  assert fit == pytest.approx(5098651.77, abs=5e-3)
  # The least loss among all divisions of the same compute.
  law = np.array([1.8, 480.0, 2100.0, 0.34, 0.28])
  _, A, B, alpha, beta = law
  fit = np.exp(log_optimal_params(A, B, alpha, beta, np.log(1e10)))

  def loss(log_n):
    at = {'params': np.exp(log_n), 'tokens': fit * 1e10 / np.exp(log_n)}
    return CHINCHILLA.predict(law, at)[0]

  best = optimize.minimize_scalar(loss, bounds=np.log([1e5, 1e13]))
  assert np.exp(best.x) == pytest.approx(fit, rel=1e-4)


def test_noise_free_data_give_the_law_back_in_any_unit():
  truth = np.array([1.9, 480.0, 2100.0, 0.34, 0.36, 12.0, 4.0])
  value = REPEATED.predict(truth, AT)
  found = optimum({**AT, 'loss': value})
  assert found.converged
  np.testing.assert_allclose(found.params, truth, rtol=1e-6)
  # In billions of parameters and of tokens, and in bits.
  billions = {name: column / 1e9 for name, column in AT.items()}
  other = optimum({**billions, 'loss': value / np.log(2)})
  np.testing.assert_allclose(other.theta, found.theta, rtol=1e-6)
  E, A, B, alpha, beta, *stars = other.params
  bits = np.log(2)
  back = [E * bits, A * bits * 1e9**alpha, B * bits * 1e9**beta]
  np.testing.assert_allclose(
    [*back, alpha, beta, *stars], found.params, rtol=1e-6
  )


@pytest.fixture(scope='module')
def runs():
  if not DATA.is_file():
    pytest.skip('shared/data/scaling/datablations is absent')
  with DATA.open() as file:
    rows = list(csv.DictReader(file))
  names = [*REPEATED.inputs, 'val_loss']
  columns = {n: np.array([float(row[n]) for row in rows]) for n in names}
  return columns | {'loss': columns['val_loss']}


def objective(params, runs):
  off = np.log(REPEATED.predict(np.asarray(params), runs) / runs['loss'])
  return np.sum(special.huber(1e-3, off))


def test_published_point(runs):
  assert len(runs['loss']) == 182
  assert objective(PUBLISHED, runs) == pytest.approx(0.015825935258, rel=1e-6)
  for law, r2 in ((REPEATED, 0.772204608), (CHINCHILLA, 0.445168438)):
    off = law.predict(PUBLISHED[: len(law.params)], runs) - runs['loss']
    found = 1 - np.sum(off**2) / len(off) / np.var(runs['loss'])
    assert found == pytest.approx(r2, abs=1e-6)


def test_published_point_is_not_the_optimum(runs):
  """R_D* is hardly known from these runs, and the fit says so."""
  fixed = dict(zip(CHINCHILLA.params, FIRST.tolist(), strict=True))
  fit = fit_law(runs, REPEATED, fixed=fixed, resamples=200)
  assert fit.converged
  assert fit.objective == pytest.approx(0.0158047, abs=5e-8)
  assert fit.params['R_D_star'] == pytest.approx(95.4, abs=0.05)
  assert fit.params['R_N_star'] == pytest.approx(1.71, abs=0.005)
  assert fit.objective == pytest.approx(objective(fit.params_P, runs), rel=1e-9)

  grid = np.geomspace(0.1, 1000, 41)
  best = min(objective([*FIRST, d, n], runs) for d in grid for n in grid)
  assert fit.objective <= best

  assert 'R_D_star' in fit.flat
  assert any('R_D_star = 95.4 is open above' in text for text in fit.warnings)
  # Published, 15.4, is among what these runs allow.
  low, high = fit.intervals['R_D_star']
  assert low < 15.4 < high
