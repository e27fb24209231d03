"""Matrix products in the compute dtype, summed in float32."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

Initializer = Callable[..., Any]

# The standard deviation of GPT-2 and its successors.
INIT_STD = 0.02


def einsum(equation: str, *arrays: jax.Array) -> jax.Array:
  """`jnp.einsum` of arrays of one dtype that sums in, and returns, float32."""
  return jnp.einsum(equation, *arrays, preferred_element_type=jnp.float32)


def residual_init(num_layers: int) -> Initializer:
  """For kernels that add to the residual stream: 0.02 / sqrt(2 N), as GPT-2.

  Each of N layers adds twice, so the stream keeps its scale with depth.
  """
  return nn.initializers.normal(INIT_STD / (2 * num_layers) ** 0.5)


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
  """`einsum(equation, x, kernel)` with a float32 kernel and no bias.

  Attributes:
    equation: einsum of the input and the kernel.
    shape: of the kernel.
    axes: logical name of each kernel dimension.
    dtype: in which the product is computed and returned; sums are float32.
    init: of the kernel.
  """

  equation: str
  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  dtype: Any
  init: Initializer = nn.initializers.normal(INIT_STD)

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = parameter(self, 'kernel', self.init, self.shape, self.axes)
    y = einsum(self.equation, x.astype(self.dtype), kernel.astype(self.dtype))
    return y.astype(self.dtype)
