"""Grouped products against a loop over rows, and how much they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.grouped import grouped_product, over_tiles

SIZES = {
  'uneven': [5, 0, 17, 1, 60],
  'none of some rows': [3, 9, 0, 40, 2],
  'one group': [0, 0, 83, 0, 0],
  'nothing': [0, 0, 0, 0, 0],
}
ROWS = 83


def _arrays(sizes):
  random = np.random.default_rng(0)
  x, dy = random.normal(size=(ROWS, 6)), random.normal(size=(ROWS, 4))
  kernels = random.normal(size=(len(sizes), 6, 4))
  return [jnp.asarray(array, jnp.float32) for array in (x, kernels, dy)]


@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES)
def test_product_and_gradients_are_a_loop_over_rows(sizes):
  x, kernels, dy = _arrays(sizes)
  y, vjp = jax.vjp(
    lambda x, w: grouped_product(x, w, jnp.array(sizes)), x, kernels
  )
  expected = [np.zeros(array.shape) for array in (dy, x, kernels)]
  for row, group in enumerate(np.repeat(np.arange(len(sizes)), sizes)):
    expected[0][row] = x[row] @ kernels[group]
    expected[1][row] = dy[row] @ kernels[group].T
    expected[2][group] += np.outer(x[row], dy[row])
  for found, right in zip((y, *vjp(dy)), expected, strict=True):
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


def test_rows_of_one_dtype_have_gradients_of_kernels_in_float32():
  x, kernels, dy = _arrays([10, 73])
  low = jnp.bfloat16
  y, vjp = jax.vjp(
    lambda x, w: grouped_product(x, w, jnp.array([10, 73])),
    x.astype(low),
    kernels,
  )
  dx, dkernels = vjp(dy.astype(low))
  assert (y.dtype, dx.dtype, dkernels.dtype) == (low, low, jnp.float32)
  np.testing.assert_allclose(
    dkernels[0],
    x[:10].astype(low).T @ dy[:10].astype(low),
    rtol=2e-2,
    atol=2e-2,
  )


@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES)
def test_only_rows_of_groups_are_computed(sizes):
  # 83 rows in 5 groups: tiles of 4.
  count = over_tiles(lambda n, _: n + 1, 0, jnp.array(sizes), ROWS)
  assert count == sum(-(-size // 4) for size in sizes)
