"""Products of rows with the matrix of the group that each belongs to."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from model.linear import einsum

_MOST_ROWS = 512  # of a tile: each reads a matrix anew
_Carry = TypeVar('_Carry')


@jax.custom_vjp
def grouped_product(
  x_TxI: jax.Array, kernels_ExIxO: jax.Array, sizes_E: jax.Array
) -> jax.Array:
  """x_t W_{e(t)} for rows that are sorted by group, [T, O] in their dtype.

  `jax.lax.ragged_dot` is the same, but where there is no kernel for it (on CPU,
  and on TPU for the gradient of the matrices) it multiplies each row with the
  matrices of all groups. This loops over tiles of rows of one group, and over
  no more of them than the sizes at hand make.

  Args:
    x_TxI: rows of group 0, those of group 1, ..., and any that are of none, for
      which the product is 0.
    kernels_ExIxO: float32; multiplied in the dtype of the rows. Sums, and their
      gradient, are float32.
    sizes_E: how many rows each group has; integers, at most T in all.
  """
  return _forward(x_TxI, kernels_ExIxO, sizes_E)[0]


class Tile(NamedTuple):
  """Some rows of one group.

  Attributes:
    group: its number.
    start: the first row.
    own_tx1: which of the rows from there on are of this tile.
  """

  group: jax.Array
  start: jax.Array
  own_tx1: jax.Array

  def rows(self, array_TxN: jax.Array) -> jax.Array:
    """The rows [t, N] from `start` on."""
    return jax.lax.dynamic_slice_in_dim(
      array_TxN, self.start, len(self.own_tx1)
    )


def over_tiles(
  step: Callable[[_Carry, Tile], _Carry],
  carry: _Carry,
  sizes_E: jax.Array,
  num_rows: int,
) -> _Carry:
  """Folds `step` over the tiles of all groups, sum_e ceil(size_e / t) of them.

  A tile has t rows, a power of 2 that is about a quarter of a group of mean
  size: then what is computed for nothing, half a tile for each group, is an
  eighth.
  """
  mean = max(1, num_rows // (4 * len(sizes_E)))
  size = min(_MOST_ROWS, 1 << (mean.bit_length() - 1))
  ends_E = jnp.cumsum(sizes_E)
  tiles_E = -(-sizes_E // size)
  until_E = jnp.cumsum(tiles_E)

  def body(number: jax.Array, carry: _Carry) -> _Carry:
    group = jnp.sum(number >= until_E)
    nth = number - (until_E - tiles_E)[group]
    first = (ends_E - sizes_E)[group] + nth * size
    # The last rows are never passed: a tile there starts early instead.
    start = jnp.minimum(first, num_rows - size)
    row_t = start + jnp.arange(size)
    own_t = (row_t >= first) & (row_t < ends_E[group])
    return step(carry, Tile(group, start, own_t[:, None]))

  return jax.lax.fori_loop(0, until_E[-1], body, carry)


def _product(
  equation: str, x_TxI: jax.Array, kernels: jax.Array, sizes_E: jax.Array
) -> jax.Array:
  """The product with each group's kernel, in the dtype of both."""

  def write(y_TxO: jax.Array, tile: Tile) -> jax.Array:
    y = einsum(equation, tile.rows(x_TxI), kernels[tile.group])
    y = jnp.where(tile.own_tx1, y.astype(y_TxO.dtype), tile.rows(y_TxO))
    return jax.lax.dynamic_update_slice_in_dim(y_TxO, y, tile.start, 0)

  outputs = kernels.shape[1 + 'io'.index(equation[-1])]
  # `zeros_like`, for it differs between devices where `x` does.
  zeros = jnp.zeros_like(x_TxI, shape=(len(x_TxI), outputs))
  return over_tiles(write, zeros, sizes_E, len(x_TxI))


def _forward(
  x_TxI: jax.Array, kernels_ExIxO: jax.Array, sizes_E: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  kernels_ExIxO = kernels_ExIxO.astype(x_TxI.dtype)
  y_TxO = _product('ti,io->to', x_TxI, kernels_ExIxO, sizes_E)
  return y_TxO, (x_TxI, kernels_ExIxO, sizes_E)


def _backward(
  saved: tuple[jax.Array, ...], dy_TxO: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
  x_TxI, kernels_ExIxO, sizes_E = saved

  def add(total_ExIxO: jax.Array, tile: Tile) -> jax.Array:
    dy = jnp.where(tile.own_tx1, tile.rows(dy_TxO), 0)
    return total_ExIxO.at[tile.group].add(
      einsum('ti,to->io', tile.rows(x_TxI), dy)
    )

  zeros = jnp.zeros_like(x_TxI, jnp.float32, shape=kernels_ExIxO.shape)
  dkernels_ExIxO = over_tiles(add, zeros, sizes_E, len(x_TxI))
  dx_TxI = _product('to,io->ti', dy_TxO, kernels_ExIxO, sizes_E)
  return dx_TxI, dkernels_ExIxO, None


grouped_product.defvjp(_forward, _backward)
