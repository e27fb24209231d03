"""Tokens to vectors, and vectors to scores of tokens."""

import jax
from flax import linen as nn

from model.attention import softcap
from model.config import ModelConfig
from model.divided import LAYER_INPUT, STREAM, constrained, crossing, ways
from model.dropout import dropout
from model.linear import einsum, parameter
from model.norm import Norm
from model.parametrization import logit_scale
from model.positions import sinusoidal

# Of what logits are made of: training starts from the uniform guess.
SMALL_STD = 0.02
_VOCAB = ('vocab', 'embed')


class Embedding(nn.Module):
  """The residual stream before the first layer.

  A row of the table for each token, plus the position's and the token type's
  where the config has them, normed and dropped out where it says so.
  """

  config: ModelConfig

  def setup(self) -> None:
    c = self.config
    small = nn.initializers.normal(SMALL_STD)
    unit = nn.initializers.normal(1.0)
    shape = c.vocab_size, c.width
    self.table = parameter(
      self, 'table', small if c.tied_head else unit, shape, _VOCAB
    )
    if c.positions == 'learned':
      places = (c.max_length, c.width), ('length', 'embed')
      self.positions = parameter(self, 'positions', small, *places)
    if c.token_types:
      types = (c.token_types, c.width), (None, 'embed')
      self.types = parameter(self, 'types', small, *types)
    if c.embedding_norm:
      self.norm = Norm(c.norm, c.norm_epsilon)

  def __call__(
    self,
    tokens_BxL: jax.Array,
    positions_BxL: jax.Array,
    types_BxL: jax.Array | None = None,
  ) -> jax.Array:
    """The stream [B, L, D] in the compute dtype.

    Args:
      tokens_BxL: integers below `vocab_size`.
      positions_BxL: place of each token within its document, from 0.
      types_BxL: integers below `token_types`; None means 0.
    """
    c = self.config
    table = self.table
    if 1 < ways('table_width') < ways('batch'):
      # What is looked up in parts has to go where its rows of the batch are.
      # With other axes in between, the compiler would gather the whole batch.
      table = constrained(table, ('vocab', None))
    x = crossing(table[tokens_BxL], LAYER_INPUT)
    if c.positions == 'learned':
      x += self.positions[positions_BxL]
    if c.positions == 'sinusoidal':
      x += sinusoidal(positions_BxL, c.width)
    if c.token_types:
      x += self.types[0] if types_BxL is None else self.types[types_BxL]
    if c.embedding_norm:
      x = self.norm(x)
    x = dropout(self, x.astype(c.compute_dtype), c.dropout)
    return constrained(x, STREAM)


def head_table(module: nn.Module, config: ModelConfig) -> jax.Array:
  """The parameter [V, D] of an output head that is not the embedding."""
  small = nn.initializers.normal(SMALL_STD)
  shape = config.vocab_size, config.width
  return parameter(module, 'head', small, shape, _VOCAB)


def readout(
  config: ModelConfig, table_VxD: jax.Array, h_BxLxD: jax.Array
) -> jax.Array:
  """Float32 logits [B, L, V]: products of vectors with each token's row."""
  h = crossing(h_BxLxD, LAYER_INPUT)
  if config.scale_tied_head:
    h = h * config.width**-0.5
  logits = einsum('bld,vd->blv', h, table_VxD.astype(h.dtype))
  # Times 1 is left out by the compiler.
  logits = softcap(logits * logit_scale(config), config.logit_softcap)
  return constrained(logits, ('batch', 'length', 'vocab'))
