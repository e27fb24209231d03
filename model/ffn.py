"""The feed-forward layer."""

import functools
from collections.abc import Callable, Mapping

import jax
from flax import linen as nn

from model.config import GATED, ModelConfig
from model.divided import LAYER_INPUT, STREAM, constrained, crossing
from model.linear import Linear
from model.parametrization import residual_scale

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  'swiglu': jax.nn.silu,
  'geglu': functools.partial(jax.nn.gelu, approximate=True),
  'gelu': functools.partial(jax.nn.gelu, approximate=True),
  'gelu_exact': functools.partial(jax.nn.gelu, approximate=False),
  'relu': jax.nn.relu,
}


def widened(name: str, product: Callable[[str], jax.Array]) -> jax.Array:
  """act(product('gate')) * product('up'); without a gate act(product('up'))."""
  activation = ACTIVATIONS[name]
  if name in GATED:
    return activation(product('gate')) * product('up')
  return activation(product('up'))


class FeedForward(nn.Module):
  """With a gate: (act(x W_gate) * x W_up) W_down (Shazeer 2020, eq. 6).

  Without: act(x W_up) W_down.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x_BxLxD: jax.Array) -> jax.Array:
    c = self.config
    dtype = x_BxLxD.dtype
    x_BxLxD = crossing(x_BxLxD, LAYER_INPUT)

    def widen(name: str) -> jax.Array:
      return Linear(
        'bld,df->blf',
        (c.width, c.ffn_width),
        ('embed', 'ffn'),
        dtype,
        bias=c.biases,
        name=name,
      )(x_BxLxD)

    h_BxLxF = widened(c.activation, widen)
    h_BxLxF = constrained(h_BxLxF, ('batch', 'length', 'ffn'))
    out = Linear(
      'blf,fd->bld',
      (c.ffn_width, c.width),
      ('ffn', 'embed'),
      dtype,
      scale=residual_scale(c),
      bias=c.biases,
      name='down',
    )(h_BxLxF)
    return crossing(out, STREAM)
