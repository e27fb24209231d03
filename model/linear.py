"""Matrix products in the compute dtype, summed in float32."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

Initializer = Callable[..., Any]


def einsum(equation: str, *arrays: jax.Array) -> jax.Array:
  """`jnp.einsum` of arrays of one dtype that sums in, and returns, float32."""
  return jnp.einsum(equation, *arrays, preferred_element_type=jnp.float32)


def parameter(
  module: nn.Module,
  name: str,
  init: Initializer,
  shape: tuple[int, ...],
  axes: tuple[str | None, ...],
) -> jax.Array:
  """A float32 parameter of `module` whose dimensions have logical names."""
  boxed = nn.with_logical_partitioning(init, axes)
  # Linen takes the box off, which its annotations do not say.
  return cast(jax.Array, module.param(name, boxed, shape, jnp.float32))


class Linear(nn.Module):
  """`einsum(equation, x, kernel) + bias` with float32 parameters.

  The kernel is drawn from a normal distribution with the standard deviation
  scale / sqrt(inputs), so that outputs are as large as inputs at any width
  (LeCun et al. 1998).

  Attributes:
    equation: einsum of the input and the kernel.
    shape: of the kernel, its inputs first.
    axes: logical name of each kernel dimension.
    dtype: in which the product is computed and returned; sums are float32.
    num_in: how many leading dimensions of the kernel are inputs.
    scale: of the initial kernel.
    bias: whether there is one, of the dimensions that are outputs.
  """

  equation: str
  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  dtype: Any
  num_in: int = 1
  scale: float = 1.0
  bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    dimensions = range(len(self.shape))
    init = nn.initializers.variance_scaling(
      self.scale**2,
      'fan_in',
      'normal',
      in_axis=dimensions[: self.num_in],
      out_axis=dimensions[self.num_in :],
    )
    kernel = parameter(self, 'kernel', init, self.shape, self.axes)
    y = einsum(self.equation, x.astype(self.dtype), kernel.astype(self.dtype))
    if self.bias:
      zeros = nn.initializers.zeros
      outputs = self.shape[self.num_in :], self.axes[self.num_in :]
      y += parameter(self, 'bias', zeros, *outputs)
    return y.astype(self.dtype)
