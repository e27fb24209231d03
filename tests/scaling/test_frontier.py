import numpy as np
import pytest

from scaling.frontier import flops_per_token, frontier
from scaling.laws.chinchilla import CHINCHILLA


def test_frontier_is_the_papers_closed_form(truth, ladder):
  """N_opt = G (C / 6)^(beta / (alpha + beta)), Hoffmann et al., equation 4."""
  _, A, B, alpha, beta = truth
  flops = np.array([1e12, 1e13, 1e14])
  best, loss = frontier(CHINCHILLA, truth, ladder(truth), flops)
  scale = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  n = scale * (flops / 6) ** (beta / (alpha + beta))
  np.testing.assert_allclose(best, n, rtol=0.03)
  np.testing.assert_allclose(
    loss,
    CHINCHILLA.predict(truth, {'params': n, 'tokens': flops / 6 / n}),
    rtol=1e-4,
  )


def test_flops_follow_the_points(as_points):
  points = as_points([10.0, 20, 40], [5.0, 5, 5], [3, 2, 1])
  points['flops'][:] = 5 * (100 + 6 * points['params'])
  sizes = np.array([1.0, 10, 15, 40, 100])
  assert flops_per_token(points, sizes) == pytest.approx(100 + 6 * sizes)


def test_one_size_alone_costs_in_proportion(as_points):
  points = as_points([10.0, 10], [5.0, 7], [3, 2])
  assert flops_per_token(points, np.array([1.0, 100])) == pytest.approx(
    [6, 600]
  )
