"""The layers of a transformer, of which all of its shapes are made."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from model.attention import Attention
from model.config import ModelConfig
from model.dropout import dropout
from model.embedding import STREAM
from model.experts import LOSSES, Experts
from model.ffn import FeedForward
from model.linear import parameter
from model.norm import Norm
from model.positions import relative_bucket


class Context(NamedTuple):
  """What every layer reads beside the residual stream.

  Attributes:
    mask_BxLxL: which key each query may look at.
    positions_BxL: place of each token within its document, from 0.
    bias_BxHxLxL: added to attention scores; None without relative positions.
    source_BxSxD: states of an encoder, for layers that attend to some.
    source_mask_BxLxS: which of them each query may look at.
  """

  mask_BxLxL: jax.Array
  positions_BxL: jax.Array
  bias_BxHxLxL: jax.Array | None = None
  source_BxSxD: jax.Array | None = None
  source_mask_BxLxS: jax.Array | None = None


class Block(nn.Module):
  """One layer: attention, attention to a source if there is one, feed-forward.

  `pre`: x += f(norm(x)) for each of them; `post`: x = norm(x + f(x)) (Vaswani
  et al. 2017). With `parallel_residual`, x += attention(norm(x)) +
  ffn(norm'(x)), as GPT-NeoX has it.
  """

  config: ModelConfig

  @nn.compact
  def __call__(
    self, x_BxLxD: jax.Array, context: Context
  ) -> tuple[jax.Array, None]:
    c = self.config

    def norm(name: str) -> Norm:
      return Norm(c.norm, c.norm_epsilon, name=f'{name}_norm')

    def attention(h: jax.Array) -> jax.Array:
      return Attention(c, name='attention')(
        h, h, context.mask_BxLxL, context.positions_BxL, context.bias_BxHxLxL
      )

    def cross(h: jax.Array) -> jax.Array:
      source, mask = context.source_BxSxD, context.source_mask_BxLxS
      assert source is not None and mask is not None
      return Attention(c, name='cross')(h, source, mask)

    def ffn(h: jax.Array) -> jax.Array:
      layer = Experts if c.num_experts else FeedForward
      return layer(c, name='ffn')(h)

    def add(
      x: jax.Array, name: str, layer: Callable[[jax.Array], jax.Array]
    ) -> jax.Array:
      if c.norm_position == 'post':
        return norm(name)(x + dropout(self, layer(x), c.dropout))
      return x + dropout(self, layer(norm(name)(x)), c.dropout)

    x = x_BxLxD
    if c.parallel_residual:
      both = attention(norm('attention')(x)) + ffn(norm('ffn')(x))
      x += dropout(self, both, c.dropout)
    else:
      x = add(x, 'attention', attention)
      if context.source_BxSxD is not None:
        x = add(x, 'cross', cross)
      x = add(x, 'ffn', ffn)
    # The pair is what a scan over layers carries, and what it collects.
    return nn.with_logical_constraint(x, STREAM), None


class Stack(nn.Module):
  """`num_layers` blocks, and a norm where the blocks leave one to be done.

  Parameters of the blocks are stacked along a leading layer axis. With
  `scan_layers` the compiled program loops over that axis; without, the loop is
  unrolled. The parameters and the function are the same.

  Attributes:
    config: of the model.
    causal: no token sees later ones; decides what relative positions tell
      apart.
  """

  config: ModelConfig
  causal: bool

  @nn.compact
  def __call__(self, x_BxLxD: jax.Array, context: Context) -> jax.Array:
    """The residual stream [B, L, D] after the last layer and norm."""
    c = self.config
    if c.positions == 'relative':
      context = context._replace(bias_BxHxLxL=self._bias(context.positions_BxL))
    blocks = nn.scan(
      _rematerialized(c.remat, in_loop=c.scan_layers),
      variable_axes={'params': 0, LOSSES: 0},
      split_rngs={'params': True, 'dropout': True},
      in_axes=nn.broadcast,
      length=c.num_layers,
      unroll=1 if c.scan_layers else c.num_layers,
      metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    x, _ = blocks(c, name='layers')(x_BxLxD, context)
    if c.norm_position == 'pre':
      x = Norm(c.norm, c.norm_epsilon, name='final_norm')(x)
    return x

  def _bias(self, positions_BxL: jax.Array) -> jax.Array:
    """A learned number for each head and bucket of distances, [B, H, L, L].

    One table serves all layers (Raffel et al. 2020, section 2.1).
    """
    c = self.config
    table_RxH = parameter(
      self,
      'relative_bias',
      nn.initializers.normal(1.0),
      (c.relative_buckets, c.num_heads),
      (None, 'heads'),
    )
    distance = positions_BxL[:, None, :] - positions_BxL[:, :, None]
    bucket = relative_bucket(
      distance, c.relative_buckets, c.relative_max_distance, not self.causal
    )
    return jnp.moveaxis(table_RxH[bucket], -1, 1)


def _rematerialized(policy: str, in_loop: bool) -> Any:
  """`Block`, keeping for the backward pass all, only products, or nothing.

  Outside of a loop the compiler would find what is computed twice, and keep it.
  """
  if policy == 'none':
    return Block
  keep = {
    'dots': jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
    'full': jax.checkpoint_policies.nothing_saveable,
  }[policy]
  return nn.remat(Block, policy=keep, prevent_cse=not in_loop)
