import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from scaling import newton


def rosenbrock(x, data):
  value = data * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
  return value, jnp.ones(())


@pytest.fixture(scope='module')
def starts():
  return np.random.default_rng(0).uniform(-2, 2, (11, 2))


def test_rosenbrock_from_anywhere(starts):
  wide = np.array([-9.0, -9.0]), np.array([9.0, 9.0])
  found = newton.minimize(rosenbrock, starts, *wide, np.full(11, 100.0))
  assert np.all(found.converged)
  np.testing.assert_allclose(found.x, 1.0, atol=1e-5)
  assert found.x.dtype == np.float64


def test_bounds_agree_with_scipy(starts):
  lower, upper = np.array([-2.0, -2.0]), np.array([0.5, 2.0])
  found = newton.minimize(rosenbrock, starts, lower, upper, np.full(11, 9.0))
  reference = optimize.minimize(
    lambda x: 9 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
    [0.0, 0.0],
    bounds=[(-2, 0.5), (-2, 2)],
    method='L-BFGS-B',
    options={'ftol': 1e-15, 'gtol': 1e-9},
  )
  assert np.all(found.converged)
  np.testing.assert_allclose(found.x, [reference.x] * 11, atol=1e-5)


def test_precision_is_float64_and_stays_local(starts):
  newton.minimize(
    rosenbrock, starts, np.full(2, -9.0), np.full(2, 9.0), np.full(11, 5.0)
  )
  assert not jax.config.jax_enable_x64
  assert jnp.ones(()).dtype == jnp.float32


def test_a_kink_does_not_pass_for_converged():
  def kink(x, data):
    return data * jnp.maximum(x[0], -2 * x[0]), jnp.ones(())

  found = newton.minimize(
    kink, np.ones((1, 1)), np.full(1, -9.0), np.full(1, 9.0), np.ones(1)
  )
  assert not found.converged[0]
