"""Optima against closed forms and published numbers."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling.laws.chinchilla import CHINCHILLA, OVER_TRAINING
from scaling.laws.kaplan import KAPLAN
from scaling.optimum import (
  Surface,
  bisect,
  minimize,
  optimum,
  size_of_rate,
  tokens_for_loss,
)

# E, A, B, alpha, beta of Besiroglu et al. 2024, arXiv:2404.10102, table 1.
BESIROGLU = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
# Of datablations' parametric fit, Muennighoff et al. 2023, arXiv:2305.16264.
MUENNIGHOFF = np.array([1.869144, 520.825, 1487.716, 0.3526596, 0.3526596])


def make_surface(params, law=CHINCHILLA, **more):
  params = np.atleast_2d(params)
  return Surface(law, params, np.zeros(len(params)), 'log', **more)


def closed_form(params, flops):
  """Hoffmann et al. 2022, equation 4, written out a second time."""
  _, A, B, alpha, beta = np.asarray(params).T
  scale = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  return scale * (flops / 6) ** (beta / (alpha + beta))


@pytest.mark.parametrize('flops', [1e15, 1e19, 5.76e23, 1e28])
def test_optima_are_the_closed_form(flops):
  rng = np.random.default_rng(0)
  drawn = BESIROGLU * rng.uniform(0.7, 1.4, (500, 5))
  best = optimum(make_surface(drawn), flops)
  assert np.all(best.found)
  np.testing.assert_allclose(best.params, closed_form(drawn, flops), rtol=1e-6)
  np.testing.assert_allclose(6 * best.params * best.tokens, flops)


def test_chinchilla_s_budget_by_hand():
  """G = (167.643 / 762.850)^(1 / .7136) = .119630 and (C / 6)^.512612."""
  best = optimum(make_surface(BESIROGLU), 5.76e23)
  assert best.params[0] == pytest.approx(7.2245e10, rel=1e-3)
  assert best.tokens[0] == pytest.approx(1.3288e12, rel=1e-3)
  # Besiroglu et al. find about 20 tokens per parameter.
  assert 15 < best.tokens[0] / best.params[0] < 25


def test_one_exponent_keeps_one_ratio():
  """Gadre et al. 2024, arXiv:2403.08540: the best M is the same at any C."""
  surface = make_surface([1.8, 141.0, 190.0, 0.27], OVER_TRAINING)
  ratios = [
    (best.tokens / best.params)[0]
    for best in (optimum(surface, c) for c in (1e18, 1e21, 1e24))
  ]
  assert ratios == pytest.approx([(190 / 141) ** (1 / 0.27)] * 3, rel=1e-6)


def test_kaplan_s_law_has_a_closed_form_too():
  """N^(1 + r) = r N_c^r C / (6 D_c) with r = alpha_N / alpha_D.

  Constants of table 2 of Kaplan et al. 2020, arXiv:2001.08361.
  """
  n_c, d_c, alpha_n, alpha_d = 6.4e13, 1.8e13, 0.076, 0.103
  best = optimum(make_surface([n_c, d_c, alpha_n, alpha_d], KAPLAN), 1e21)
  r = alpha_n / alpha_d
  exact = (r * n_c**r * 1e21 / (6 * d_c)) ** (1 / (1 + r))
  assert best.params[0] == pytest.approx(exact, rel=1e-6)


def test_flops_per_token_may_be_a_function():
  """6 N + 5e9 a token, by scipy's bounded search."""

  def rate(params):
    return 6 * params + 5e9

  def loss(log_n):
    n = np.exp(log_n)
    d = 1e20 / rate(n)
    return CHINCHILLA.predict(BESIROGLU, {'params': n, 'tokens': d})[0]

  exact = minimize_scalar(
    loss, bounds=(10, 25), method='bounded', options={'xatol': 1e-9}
  )
  best = optimum(make_surface(BESIROGLU), 1e20, rate)
  assert np.log(best.params[0]) == pytest.approx(exact.x, abs=1e-6)
  # What every token costs whatever the size makes fewer, larger steps pay.
  assert (
    best.params[0] > 1.05 * optimum(make_surface(BESIROGLU), 1e20).params[0]
  )


def test_a_law_without_a_term_has_no_optimum():
  gone = BESIROGLU * [1, 0, 1, 1, 1]
  best = optimum(make_surface([BESIROGLU, gone]), 1e20)
  assert best.found.tolist() == [True, False]


def test_tokens_for_a_loss_are_the_law_turned_round():
  E, A, B, alpha, beta = BESIROGLU
  params = np.array([1e9, 1e10, 1e6])
  gap = 2.3 - E - A / params**alpha
  tokens = tokens_for_loss(make_surface(BESIROGLU), 2.3, params)
  np.testing.assert_allclose(tokens[:2], (B / gap[:2]) ** (1 / beta), rtol=1e-9)
  assert gap[2] < 0
  assert np.isinf(tokens[2])


def test_minima_at_kinks_and_behind_walls():
  kinks = np.array([[3.21], [7.5], [-1.0]])
  x, inside = minimize(lambda x: np.abs(x - kinks), 0.0, 10.0)
  np.testing.assert_allclose(x[:2], [3.21, 7.5], atol=1e-9)
  assert inside.tolist() == [True, True, False]
  # Infinite below 2, and rising from there on.
  x, _ = minimize(lambda x: np.where(x < 2, np.inf, x), 0.0, 10.0)
  assert x == pytest.approx([2], abs=2e-3)


def test_bisection_finds_where_a_condition_begins():
  roots = np.array([0.1, 2.0, np.pi])
  found = bisect(lambda x: x >= roots, np.zeros(3), 10.0)
  np.testing.assert_allclose(found, roots, rtol=1e-14)
  np.testing.assert_allclose(
    size_of_rate(lambda n: 6 * n + 12, np.array([6e9])), [1e9 - 2]
  )


def test_size_that_unique_tokens_call_for():
  """N_opt(1e8) = 5,098,651.77 by datablations' own function."""
  surface = make_surface(
    [np.exp([0.6254804, 6.255414, 7.3049974]).tolist() + [0.3526596] * 2],
    unique_tokens=1e8,
  )
  assert surface._size_Sx1[0, 0] == pytest.approx(5098651.77, rel=1e-6)


def test_repetition_by_hand():
  """4 epochs of 1e8 tokens: R_D = 3, D' = 1e8 (1 + 15.3878 (1 - e^-.19496))."""
  surface = make_surface(MUENNIGHOFF, unique_tokens=1e8)
  worth = 1e8 * (1 + 15.387756 * (1 - np.exp(-3 / 15.387756)))
  loss = surface.loss(np.array([1e6]), np.array([4e8]))
  plain = make_surface(MUENNIGHOFF).loss(np.array([1e6]), np.array([worth]))
  assert worth == pytest.approx(3.7253e8, rel=1e-3)
  np.testing.assert_allclose(loss, plain, rtol=1e-12)
  # Twice the parameters that 1e8 tokens call for: R_N = 1.
  size = surface._size_Sx1[0, 0]
  worth = size * (1 + 5.309743 * (1 - np.exp(-1 / 5.309743)))
  np.testing.assert_allclose(
    surface.loss(np.array([2 * size]), np.array([1e8])),
    make_surface(MUENNIGHOFF).loss(np.array([worth]), np.array([1e8])),
    rtol=1e-9,
  )


def test_enough_tokens_are_no_bound():
  plain = optimum(make_surface(BESIROGLU), 1e21)
  ample = make_surface(BESIROGLU, unique_tokens=2 * plain.tokens[0])
  np.testing.assert_allclose(optimum(ample, 1e21).params, plain.params)
  short = make_surface(BESIROGLU, unique_tokens=plain.tokens[0] / 10)
  bound = optimum(short, 1e21)
  # The spare FLOPs go to epochs rather than to parameters (Muennighoff et al.,
  # figure 1).
  assert bound.params[0] < plain.params[0]
  assert bound.tokens[0] > plain.tokens[0]
