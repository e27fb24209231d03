"""Experts that take every token that chose them, however many."""

import functools

import jax
import jax.numpy as jnp

from model.divided import mesh_axes
from model.ffn import widened
from model.grouped import grouped_product


def dropless(
  x_BxLxD: jax.Array,
  weights_BxLxk: jax.Array,
  chosen_BxLxk: jax.Array,
  kernels: dict[str, jax.Array],
  activation: str,
) -> jax.Array:
  """sum_j weight_j * expert_{chosen_j}(x), [B, L, D].

  Choices are sorted by expert and multiplied group by group (Gale et al. 2022).
  On a mesh this is run `per_device`: devices that divide the experts among them
  gather each other's tokens, and each adds what its own experts make of them;
  devices that divide the width of an expert add up their parts.

  Args:
    x_BxLxD: this device's tokens, in the compute dtype.
    weights_BxLxk: of each token's choices, float32.
    chosen_BxLxk: numbers of experts, counted over all devices.
    kernels: this device's `up`, `down` and `gate`, float32 [E, in, out].
    activation: a key of `ffn.ACTIVATIONS`.
  """
  dtype = x_BxLxD.dtype
  across, width = mesh_axes('experts'), mesh_axes('ffn')

  def gather(array: jax.Array) -> jax.Array:
    # Made to differ along `width` here, an array has a gradient that is summed
    # along it here, which is where it is smallest.
    array = jax.lax.pcast(array, width, to='varying')
    return jax.lax.all_gather(array, across, axis=0, tiled=True)

  x_TxD = gather(x_BxLxD).reshape(-1, x_BxLxD.shape[-1])
  # And along those of tokens here, in float32: so are their gradients' sums.
  tokens = mesh_axes('rows') + mesh_axes('length')
  kernels = {
    name: jax.lax.pcast(kernel, tokens, to='varying')
    for name, kernel in kernels.items()
  }

  num_here = kernels['down'].shape[0]
  first = jax.lax.axis_index(across) * num_here
  expert_of = gather(chosen_BxLxk).ravel() - first
  here = (expert_of >= 0) & (expert_of < num_here)
  expert_of = jnp.where(here, expert_of, num_here)
  order = jnp.argsort(expert_of)  # choices of other devices' experts go last
  token_of = order // chosen_BxLxk.shape[-1]
  sizes_E = jnp.bincount(expert_of, length=num_here)

  def product(h: jax.Array, name: str) -> jax.Array:
    return grouped_product(h, kernels[name], sizes_E)

  h = widened(activation, functools.partial(product, x_TxD[token_of]))
  weights = gather(weights_BxLxk).ravel()[order, None].astype(dtype)
  out = product(h, 'down') * weights
  total = jnp.zeros(x_TxD.shape, jnp.float32)
  total = total.at[token_of].add(out.astype(jnp.float32))
  total = total.reshape(-1, *x_BxLxD.shape[1:])
  total = jax.lax.psum_scatter(total, across, scatter_dimension=0, tiled=True)
  return jax.lax.psum(total, width).astype(dtype)
