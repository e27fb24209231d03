"""The feed-forward layer."""

import jax
from flax import linen as nn

from model.config import ModelConfig
from model.linear import Linear, residual_scale


class FeedForward(nn.Module):
  """`swiglu`: (silu(x W_gate) * x W_up) W_down (Shazeer 2020, eq. 6).

  `gelu`: gelu(x W_up) W_down, with the tanh form of the GELU.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
    c = self.config
    dtype = x_BxLxD.dtype

    def widen(name: str) -> jax.Array:
      return Linear(
        'bld,df->blf',
        (c.width, c.ffn_width),
        ('embed', 'ffn'),
        dtype,
        name=name,
      )(x_BxLxD)

    if c.activation == 'swiglu':
      h_BxLxF = jax.nn.silu(widen('gate')) * widen('up')
    else:
      h_BxLxF = jax.nn.gelu(widen('up'), approximate=True)
    h_BxLxF = nn.with_logical_constraint(h_BxLxF, ('batch', 'length', 'ffn'))
    return Linear(
      'blf,fd->bld',
      (c.ffn_width, c.width),
      ('ffn', 'embed'),
      dtype,
      scale=residual_scale(c.num_layers),
      name='down',
    )(h_BxLxF)
