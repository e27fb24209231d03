import numpy as np
import pytest
from scipy import optimize, special

from scaling import chinchilla


def test_predict_by_hand():
  # 1 + 6 / 9^0.5 + 8 / 16^0.25 = 1 + 2 + 4
  value = chinchilla.predict(np.array([1, 6, 8, 0.5, 0.25]), [9.0], [16.0])
  np.testing.assert_allclose(value, [7.0])


def test_predict_keeps_leading_axes(truth, law):
  stack = np.stack([truth, truth * 1.1])
  n, d = np.array([1e4, 1e5, 1e6]), np.array([1e6, 1e7, 1e8])
  value = chinchilla.predict(stack, n, d)
  assert value.shape == (2, 3)
  np.testing.assert_allclose(value[1], law(truth * 1.1, n, d))


@pytest.mark.parametrize('delta', [1e-3, np.inf])
def test_noise_free_data_give_the_law_back(truth, ladder, delta):
  estimate = chinchilla.estimate(ladder(truth), delta)
  assert estimate.converged
  np.testing.assert_allclose(estimate.params, truth, rtol=1e-4)


def _paper_objective(x, points, delta):
  """The paper's own form: logs of E, A, B and logsumexp."""
  a, b, e, alpha, beta = x
  terms = [
    a - alpha * np.log(points.params),
    b - beta * np.log(points.tokens),
    np.full(len(points), e),
  ]
  residual = special.logsumexp(terms, axis=0) - np.log(points.value)
  return np.sum(special.huber(delta, residual))


@pytest.mark.parametrize('delta', [1e-3, 1e6])
def test_no_start_of_scipy_finds_a_better_optimum(truth, ladder, delta):
  points = ladder(truth, 0.01, np.random.default_rng(5))
  estimate = chinchilla.estimate(points, delta)
  E, A, B, alpha, beta = estimate.params
  at = np.array([np.log(A), np.log(B), np.log(E), alpha, beta])
  here = _paper_objective(at, points, delta)
  assert estimate.objective == pytest.approx(here, rel=1e-9)
  rng = np.random.default_rng(0)
  starts = [at, *(at * rng.uniform(0.5, 1.5, 5) for _ in range(4))]
  best = min(
    optimize.minimize(
      _paper_objective, x, (points, delta), method='Nelder-Mead'
    ).fun
    for x in starts
  )
  assert estimate.objective <= best * (1 + 1e-9)


@pytest.mark.parametrize('scales', [(1e6, 1e-9, 1.0), (1.0, 1.0, 37.0)])
def test_units_change_nothing(truth, ladder, as_points, scales):
  points = ladder(truth, 0.003, np.random.default_rng(1))
  n, d, loss = scales
  other = as_points(points.params * n, points.tokens * d, points.value * loss)
  one = chinchilla.estimate(points)
  two = chinchilla.estimate(other)
  E, A, B, alpha, beta = one.params
  expected = [
    E * loss,
    A * n**alpha * loss,
    B * d**beta * loss,
    alpha,
    beta,
  ]
  assert two.objective == pytest.approx(one.objective, rel=1e-9)
  np.testing.assert_allclose(two.params, expected, rtol=1e-4)


def test_terms_that_are_not_there_are_told(ladder):
  points = ladder(np.array([0.0, 40.0, 400.0, 0.25, 0.3]))
  estimate = chinchilla.estimate(points, np.inf)
  assert estimate.converged
  np.testing.assert_allclose(estimate.params[3:], [0.25, 0.3], rtol=1e-3)
  (told,) = chinchilla.bounds_met(estimate.params, points)
  assert told.startswith('E -> 0')
  assert not chinchilla.bounds_met(np.array([2, 40, 400, 0.4, 0.42]), points)


def test_an_exponent_at_its_edge_is_told(ladder):
  points = ladder(np.array([2.0, 40.0, 400.0, 0.4, 0.42]))
  told = chinchilla.bounds_met(np.array([2, 1, 400, 3.0, 0.42]), points)
  assert any(text.startswith('alpha = 3 is at the edge') for text in told)


def test_refits_are_the_global_optima_of_their_data(truth, ladder, as_points):
  rng = np.random.default_rng(2)
  points = ladder(truth, 0.003, rng)
  estimate = chinchilla.estimate(points, np.inf)
  value_RxM = points.value * np.exp(0.003 * rng.standard_normal((6, 14)))
  refits = chinchilla.refit(
    points, estimate, np.inf, value_RxM, np.ones((6, 14))
  )
  assert np.all(refits.converged)
  for row, value in enumerate(value_RxM):
    alone = chinchilla.estimate(
      as_points(points.params, points.tokens, value), np.inf
    )
    assert refits.objective[row] == pytest.approx(alone.objective, rel=1e-7)


def test_a_weight_counts_as_so_many_runs(truth, ladder, as_points):
  points = ladder(truth, 0.003, np.random.default_rng(4))
  estimate = chinchilla.estimate(points, np.inf)
  weight = np.array([0, 2, *[1] * 12])
  refits = chinchilla.refit(
    points, estimate, np.inf, points.value[None], weight[None]
  )
  rows = np.repeat(np.arange(14), weight)
  doubled = chinchilla.estimate(points.take(rows), np.inf)
  np.testing.assert_allclose(refits.params[0], doubled.params, rtol=1e-3)
