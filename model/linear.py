"""Matrix products in the compute dtype, summed in float32."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from model import int8

Initializer = Callable[..., Any]

PRODUCT = 'product'  # by which rematerialization knows what `Linear` returns


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


class Products(NamedTuple):
  """How layers multiply.

  Attributes:
    matmul: of `model.config.MATMULS`.
    looped: whether a loop reads the kernels of one layer after the other.
  """

  matmul: str = 'native'
  looped: bool = False


_NATIVE = Products()
_CHOSEN = contextvars.ContextVar('products', default=_NATIVE)


@contextlib.contextmanager
def products(chosen: Products) -> Iterator[None]:
  """Every `Linear` that is called meanwhile multiplies as chosen."""
  before = _CHOSEN.set(chosen)
  try:
    yield
  finally:
    _CHOSEN.reset(before)


def in_dtype(kernel: jax.Array, dtype: Any) -> jax.Array:
  """A float32 kernel in the compute dtype.

  In a loop it is first rounded, in float32, to what the dtype can hold: else
  the compiler for TPUs would turn all layers' kernels into the dtype ahead of
  the loop, and hold them twice.
  """
  if _CHOSEN.get().looped and kernel.dtype != dtype:
    limits = jnp.finfo(dtype)
    kernel = jax.lax.reduce_precision(kernel, limits.nexp, limits.nmant)
  return kernel.astype(dtype)


class Linear(nn.Module):
  """`einsum(equation, x, kernel) + bias` with float32 parameters.

  The kernel is drawn from a normal distribution with the standard deviation
  scale / sqrt(inputs), so that outputs are as large as inputs at any width
  (LeCun et al. 1998).

  Attributes:
    equation: einsum of the input and the kernel.
    shape: of the kernel, its inputs first.
    axes: logical name of each kernel dimension.
    dtype: in which the product is computed, see `products`, and returned; sums
      are float32.
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
    multiply = int8.einsum if _CHOSEN.get().matmul == 'int8' else einsum
    y = multiply(
      self.equation, x.astype(self.dtype), in_dtype(kernel, self.dtype)
    )
    if self.bias:
      zeros = nn.initializers.zeros
      outputs = self.shape[self.num_in :], self.axes[self.num_in :]
      y += parameter(self, 'bias', zeros, *outputs)
    return checkpoint_name(y.astype(self.dtype), PRODUCT)
