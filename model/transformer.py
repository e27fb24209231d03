"""A decoder-only transformer: tokens to next-token logits."""

from typing import Any

import jax
from flax import linen as nn

from model.attention import Attention, causal_mask
from model.config import ModelConfig
from model.ffn import FeedForward
from model.linear import einsum, parameter
from model.norm import Norm

# Of the output head: small, so that training starts from the uniform guess.
HEAD_STD = 0.02

_STREAM = ('batch', 'length', 'stream')


class Block(nn.Module):
  """A pre-norm layer: x += attention(norm(x)); x += ffn(norm(x))."""

  config: ModelConfig

  @nn.compact
  def __call__(
    self,
    x_BxLxD: jax.Array,
    positions_BxL: jax.Array,
    mask_BxLxL: jax.Array,
  ) -> tuple[jax.Array, None]:
    c = self.config
    x = x_BxLxD
    h = Norm(c.norm, name='attention_norm')(x)
    x += Attention(c, name='attention')(h, positions_BxL, mask_BxLxL)
    h = Norm(c.norm, name='ffn_norm')(x)
    x += FeedForward(c, name='ffn')(h)
    # The pair is what a scan over layers carries, and what it collects.
    return nn.with_logical_constraint(x, _STREAM), None


class Decoder(nn.Module):
  """Embedding, `num_layers` blocks, norm, output head.

  Parameters of the blocks are stacked along a leading layer axis. With
  `scan_layers` the compiled program loops over that axis; without, the loop is
  unrolled. The parameters and the function are the same.
  """

  config: ModelConfig

  def setup(self) -> None:
    c = self.config
    unit = nn.initializers.normal(1.0)
    small = nn.initializers.normal(HEAD_STD)
    vocab = (c.vocab_size, c.width), ('vocab', 'embed')
    self.embedding = parameter(
      self, 'embedding', small if c.tied_head else unit, *vocab
    )
    if c.positions == 'learned':
      places = (c.max_length, c.width), ('length', 'embed')
      self.position_table = parameter(self, 'position_table', small, *places)
    self.layers = nn.scan(
      _rematerialized(c.remat, in_loop=c.scan_layers),
      variable_axes={'params': 0},
      split_rngs={'params': True},
      in_axes=(nn.broadcast, nn.broadcast),
      length=c.num_layers,
      unroll=1 if c.scan_layers else c.num_layers,
      metadata_params={nn.PARTITION_NAME: 'layers'},
    )(c, name='layers')
    self.final_norm = Norm(c.norm, name='final_norm')
    if not c.tied_head:
      self.head = parameter(self, 'head', small, *vocab)

  def hidden(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
  ) -> jax.Array:
    """The normed residual stream [B, L, D] after the last layer.

    Args:
      tokens_BxL: integers below `vocab_size`.
      segment_ids_BxL: which document of the row each token belongs to.
      positions_BxL: place of each token within its document, from 0.
    """
    c = self.config
    x = self.embedding[tokens_BxL]
    if c.positions == 'learned':
      x += self.position_table[positions_BxL]
    x = nn.with_logical_constraint(x.astype(c.compute_dtype), _STREAM)
    mask = causal_mask(segment_ids_BxL)
    x, _ = self.layers(x, positions_BxL, mask)
    return self.final_norm(x)

  def __call__(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
  ) -> jax.Array:
    """Float32 logits [B, L, V] of each next token; arguments as `hidden`."""
    return self.logits(self.hidden(tokens_BxL, segment_ids_BxL, positions_BxL))

  def logits(self, hidden_BxLxD: jax.Array) -> jax.Array:
    """Float32 logits [B, L, V] from what `hidden` gives, at any places."""
    h = hidden_BxLxD
    head = self.embedding if self.config.tied_head else self.head
    logits = einsum('bld,vd->blv', h, head.astype(h.dtype))
    return nn.with_logical_constraint(logits, ('batch', 'length', 'vocab'))


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
