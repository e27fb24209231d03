import math

import numpy as np
import pytest
from scipy import optimize, special

from scaling import trust
from scaling.estimate import Problem, estimate, refit
from scaling.fit import fit_law
from scaling.laws.chinchilla import CHINCHILLA, OVER_TRAINING
from scaling.objective import Objective


def problem_of(points, delta):
  ones = np.ones(len(points))
  return Problem(CHINCHILLA, points, Objective(delta), 'log', ones, {})


def test_predict_by_hand():
  # 1 + 6 / 9^0.5 + 8 / 16^0.25 = 1 + 2 + 4
  at = {'params': [9.0], 'tokens': [16.0]}
  value = CHINCHILLA.predict(np.array([1, 6, 8, 0.5, 0.25]), at)
  np.testing.assert_allclose(value, [7.0])
  # 1 + 6 / 9^0.5 + 8 / 16^0.5
  value = OVER_TRAINING.predict(np.array([1, 6, 8, 0.5]), at)
  np.testing.assert_allclose(value, [5.0])


def test_predict_keeps_leading_axes(truth, law):
  stack = np.stack([truth, truth * 1.1])
  n, d = np.array([1e4, 1e5, 1e6]), np.array([1e6, 1e7, 1e8])
  value = CHINCHILLA.predict(stack, {'params': n, 'tokens': d})
  assert value.shape == (2, 3)
  np.testing.assert_allclose(value[1], law(truth * 1.1, n, d))


def _paper_objective(x, points, delta):
  """The paper's own form: logs of E, A, B and logsumexp."""
  a, b, e, alpha, beta = x
  terms = [
    a - alpha * np.log(points['params']),
    b - beta * np.log(points['tokens']),
    np.full(len(points), e),
  ]
  residual = special.logsumexp(terms, axis=0) - np.log(points.value)
  return np.sum(special.huber(delta, residual))


@pytest.mark.parametrize('delta', [1e-3, 1e6])
def test_no_start_of_scipy_finds_a_better_optimum(truth, ladder, delta):
  points = ladder(truth, 0.01, np.random.default_rng(5))
  found = estimate(problem_of(points, delta))
  E, A, B, alpha, beta = found.params
  at = np.array([np.log(A), np.log(B), np.log(E), alpha, beta])
  here = _paper_objective(at, points, delta)
  assert found.objective == pytest.approx(here, rel=1e-9)
  rng = np.random.default_rng(0)
  starts = [at, *(at * rng.uniform(0.5, 1.5, 5) for _ in range(4))]
  best = min(
    optimize.minimize(
      _paper_objective, x, (points, delta), method='Nelder-Mead'
    ).fun
    for x in starts
  )
  assert found.objective <= best * (1 + 1e-9)


def test_a_shared_exponent_is_that_of_the_sum(truth, ladder):
  """Where alpha = beta the two laws are one."""
  points = ladder(np.array([2.0, 40.0, 400.0, 0.4, 0.4]))
  fit = fit_law(points, OVER_TRAINING, resamples=20)
  np.testing.assert_allclose(fit.params_P, [2.0, 40.0, 400.0, 0.4], rtol=1e-4)


def test_terms_that_are_not_there_are_told(ladder):
  points = ladder(np.array([0.0, 40.0, 400.0, 0.25, 0.3]))
  problem = problem_of(points, math.inf)
  found = estimate(problem)
  assert found.converged
  np.testing.assert_allclose(found.params[3:], [0.25, 0.3], rtol=1e-3)
  (told,) = trust.at_bounds(problem, found).values()
  assert told.startswith('E -> 0')


def test_refits_are_the_global_optima_of_their_data(truth, ladder, as_points):
  rng = np.random.default_rng(2)
  points = ladder(truth, 0.003, rng)
  problem = problem_of(points, math.inf)
  found = estimate(problem)
  value_RxM = points.value * np.exp(0.003 * rng.standard_normal((6, 14)))
  refits = refit(problem, found.theta, value_RxM=value_RxM)
  assert np.all(refits.converged)
  for row, value in enumerate(value_RxM):
    other = as_points(points['params'], points['tokens'], value)
    alone = estimate(problem_of(other, math.inf))
    assert refits.objective[row] == pytest.approx(alone.objective, rel=1e-7)


def test_a_weight_counts_as_so_many_runs(truth, ladder):
  points = ladder(truth, 0.003, np.random.default_rng(4))
  problem = problem_of(points, math.inf)
  weight = np.array([0, 2, *[1] * 12])
  refits = refit(problem, estimate(problem).theta, weight_RxM=weight[None])
  rows = np.repeat(np.arange(14), weight)
  doubled = estimate(problem_of(points.take(rows), math.inf))
  np.testing.assert_allclose(refits.params[0], doubled.params, rtol=1e-3)


def test_a_held_parameter_stays_and_the_others_are_optimal(truth, ladder):
  points = ladder(truth, 0.003, np.random.default_rng(4))
  problem = problem_of(points, math.inf)
  free = estimate(problem)
  refits = refit(problem, free.theta, fixed={'A': free.params[1:2]})
  np.testing.assert_allclose(refits.params[0], free.params, rtol=1e-4)
  held = refit(problem, free.theta, fixed={'A': free.params[1:2] * 1.5})
  assert held.params[0, 1] == pytest.approx(free.params[1] * 1.5)
  assert held.objective[0] > free.objective

  def rest(x):
    E, B, alpha, beta = x
    A = free.params[1] * 1.5
    at = CHINCHILLA.predict(np.array([E, A, B, alpha, beta]), points.columns)
    return np.sum(np.log(at / points.value) ** 2) / 2

  start = held.params[0, [0, 2, 3, 4]]
  scipys = optimize.minimize(rest, start, method='Nelder-Mead')
  assert held.objective[0] <= scipys.fun * (1 + 1e-6)
