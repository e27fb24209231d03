"""Normalization of the residual stream."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from model.linear import Initializer, parameter


class Norm(nn.Module):
  """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019).

  `rms`: x / sqrt(mean(x^2) + eps) * scale. `layer` takes the mean off first and
  adds a bias. Computed in float32, returned in the dtype of the input.
  """

  kind: str
  epsilon: float

  @nn.compact
  def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
    width = x_BxLxD.shape[-1]
    x = x_BxLxD.astype(jnp.float32)
    if self.kind == 'layer':
      x -= x.mean(-1, keepdims=True)
    x *= jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
    x *= self._vector('scale', nn.initializers.ones, width)
    if self.kind == 'layer':
      x += self._vector('bias', nn.initializers.zeros, width)
    return x.astype(x_BxLxD.dtype)

  def _vector(self, name: str, init: Initializer, width: int) -> jax.Array:
    return parameter(self, name, init, (width,), ('norm',))
