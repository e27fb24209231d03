"""The three shapes of a transformer: decoder, encoder, encoder-decoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from model import masks
from model.cache import Cache
from model.config import ModelConfig
from model.dropout import dropout
from model.embedding import Embedding, head_table, readout
from model.ffn import ACTIVATIONS
from model.linear import Linear, parameter
from model.masks import Mask
from model.norm import Norm
from model.stack import Context, Memory, Stack


class _Writer(nn.Module):
  """An embedding, causal layers, and a head that may be the embedding."""

  config: ModelConfig

  def setup(self) -> None:
    c = self.config
    self.embedding = Embedding(c)
    self.decoder = Stack(c, causal=True)
    if not c.tied_head:
      self.head = head_table(self, c)

  def logits(self, hidden_BxLxD: jax.Array) -> jax.Array:
    """Float32 logits [B, L, V] of next tokens, from states at any places."""
    table = self.embedding.table if self.config.tied_head else self.head
    return readout(self.config, table, hidden_BxLxD)

  def extend(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    cache: Cache | None = None,
    prefix_BxL: jax.Array | None = None,
    source_BxSxD: jax.Array | None = None,
    source_segment_ids_BxS: jax.Array | None = None,
  ) -> tuple[jax.Array, Memory]:
    """States [B, L, D] of tokens after those of a cache, and what to add to it.

    Args:
      tokens_BxL: integers below `vocab_size`.
      segment_ids_BxL: which document of the row each token belongs to.
      positions_BxL: place of each token within its document, from 0.
      cache: of the tokens before; None where there are none.
      prefix_BxL: without a cache, as in `Decoder.hidden`.
      source_BxSxD: without a cache, the states of an encoder.
      source_segment_ids_BxS: of the source; without a cache.
    """
    segments, positions = segment_ids_BxL, positions_BxL
    memory = Memory()
    if cache is not None:
      memory = cache.memory
      source_segment_ids_BxS = cache.source_segment_ids_BxS
      segments = jnp.concatenate([cache.segment_ids_BxS, segments], axis=1)
      positions = jnp.concatenate([cache.positions_BxS, positions], axis=1)
    source_mask = None
    if source_segment_ids_BxS is not None:
      source_mask = Mask(segment_ids_BxL, source_segment_ids_BxS)
    context = Context(
      Mask(segment_ids_BxL, segments, causal=True, prefix_BxS=prefix_BxL),
      positions_BxL,
      positions,
      source_BxSxD=source_BxSxD,
      source_mask=source_mask,
    )
    x = self.embedding(tokens_BxL, positions_BxL)
    states, new = self.decoder(x, context, memory)
    assert new is not None
    return states, new


class Decoder(_Writer):
  """Tokens to next-token logits: embedding, causal layers, output head."""

  def hidden(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    prefix_BxL: jax.Array | None = None,
  ) -> jax.Array:
    """The residual stream [B, L, D] after the last layer.

    Args:
      tokens_BxL: integers below `vocab_size`.
      segment_ids_BxL: which document of the row each token belongs to.
      positions_BxL: place of each token within its document, from 0.
      prefix_BxL: true where a document's every token may look (prefix-LM).
    """
    mask = masks.causal(segment_ids_BxL, prefix_BxL)
    x = self.embedding(tokens_BxL, positions_BxL)
    return self.decoder(x, Context(mask, positions_BxL))[0]

  def __call__(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    prefix_BxL: jax.Array | None = None,
  ) -> jax.Array:
    """Float32 logits [B, L, V] of each next token; arguments as `hidden`."""
    return self.logits(
      self.hidden(tokens_BxL, segment_ids_BxL, positions_BxL, prefix_BxL)
    )


class Encoder(nn.Module):
  """Tokens to states that have seen the whole document (Devlin et al. 2019)."""

  config: ModelConfig

  def setup(self) -> None:
    c = self.config
    self.embedding = Embedding(c)
    self.encoder = Stack(c, causal=False)
    if c.pooler:
      self.pooler = self._dense()
    if c.num_classes:
      self.classifier = Linear(
        'bd,dc->bc',
        (c.width, c.num_classes),
        ('embed', None),
        jnp.float32,
        bias=c.biases,
      )
    if c.mlm_head:
      self.transform = self._dense()
      self.transform_norm = Norm(c.norm, c.norm_epsilon)
      self.head_bias = parameter(
        self, 'head_bias', nn.initializers.zeros, (c.vocab_size,), ('vocab',)
      )

  def hidden(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    types_BxL: jax.Array | None = None,
  ) -> jax.Array:
    """The residual stream [B, L, D] after the last layer.

    Args:
      tokens_BxL: integers below `vocab_size`.
      segment_ids_BxL: which document of the row each token belongs to; padding
        has a number of its own.
      positions_BxL: place of each token within its document, from 0.
      types_BxL: integers below `token_types`; None means 0.
    """
    x = self.embedding(tokens_BxL, positions_BxL, types_BxL)
    context = Context(masks.within(segment_ids_BxL), positions_BxL)
    return self.encoder(x, context)[0]

  def __call__(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    types_BxL: jax.Array | None = None,
  ) -> jax.Array:
    """The first of what the config has: scores of classes [B, C], masked-token
    logits, pooled states, states; arguments as `hidden`."""
    c = self.config
    h = self.hidden(tokens_BxL, segment_ids_BxL, positions_BxL, types_BxL)
    # All are computed, so that all have parameters.
    pooled = self.pooled(h) if c.pooler else h
    logits = self.logits(h) if c.mlm_head else pooled
    return self.scores(pooled) if c.num_classes else logits

  def pooled(self, hidden_BxLxD: jax.Array) -> jax.Array:
    """tanh of a linear map of the first token's state, [B, D]."""
    return jnp.tanh(self.pooler(hidden_BxLxD[:, :1]))[:, 0]

  def scores(self, pooled_BxD: jax.Array) -> jax.Array:
    """Float32 logits [B, C] of each document's class, from `pooled`."""
    return self.classifier(dropout(self, pooled_BxD, self.config.dropout))

  def logits(self, hidden_BxLxD: jax.Array) -> jax.Array:
    """Float32 logits [B, L, V] of what stands at each place."""
    c = self.config
    h = ACTIVATIONS[c.activation](self.transform(hidden_BxLxD))
    return readout(c, self.embedding.table, self.transform_norm(h)) + (
      self.head_bias
    )

  def _dense(self) -> Linear:
    c = self.config
    return Linear(
      'bld,de->ble',
      (c.width, c.width),
      ('embed', None),
      c.compute_dtype,
      bias=c.biases,
    )


class EncoderDecoder(_Writer):
  """A source read whole, and a target written from it (Raffel et al. 2020).

  One embedding serves both; each has `num_layers`.
  """

  def setup(self) -> None:
    super().setup()
    self.encoder = Stack(self.config, causal=False)

  def encode(
    self,
    tokens_BxS: jax.Array,
    segment_ids_BxS: jax.Array,
    positions_BxS: jax.Array,
  ) -> jax.Array:
    """States [B, S, D] of a source; arguments as `Encoder.hidden`."""
    x = self.embedding(tokens_BxS, positions_BxS)
    context = Context(masks.within(segment_ids_BxS), positions_BxS)
    return self.encoder(x, context)[0]

  def decode(
    self,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
    source_BxSxD: jax.Array,
    source_segment_ids_BxS: jax.Array,
  ) -> jax.Array:
    """States [B, L, D] of a target that sees the source of its own segment."""
    context = Context(
      masks.causal(segment_ids_BxL),
      positions_BxL,
      source_BxSxD=source_BxSxD,
      source_mask=Mask(segment_ids_BxL, source_segment_ids_BxS),
    )
    return self.decoder(self.embedding(tokens_BxL, positions_BxL), context)[0]

  def hidden(
    self,
    source_tokens_BxS: jax.Array,
    source_segment_ids_BxS: jax.Array,
    source_positions_BxS: jax.Array,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
  ) -> jax.Array:
    """The target's residual stream [B, L, D] after the last layer."""
    source = self.encode(
      source_tokens_BxS, source_segment_ids_BxS, source_positions_BxS
    )
    return self.decode(
      tokens_BxL,
      segment_ids_BxL,
      positions_BxL,
      source,
      source_segment_ids_BxS,
    )

  def __call__(
    self,
    source_tokens_BxS: jax.Array,
    source_segment_ids_BxS: jax.Array,
    source_positions_BxS: jax.Array,
    tokens_BxL: jax.Array,
    segment_ids_BxL: jax.Array,
    positions_BxL: jax.Array,
  ) -> jax.Array:
    """Float32 logits [B, L, V] of each next token of the target."""
    return self.logits(
      self.hidden(
        source_tokens_BxS,
        source_segment_ids_BxS,
        source_positions_BxS,
        tokens_BxL,
        segment_ids_BxL,
        positions_BxL,
      )
    )


Transformer = Decoder | Encoder | EncoderDecoder


def make(config: ModelConfig) -> Transformer:
  """The module of a config's architecture."""
  if config.architecture == 'decoder':
    return Decoder(config)
  if config.architecture == 'encoder':
    return Encoder(config)
  return EncoderDecoder(config)


def head_parts(config: ModelConfig) -> tuple[str, ...]:
  """Which of a model's parameters its method `logits` reads: their names."""
  if config.architecture == 'encoder':
    return 'embedding', 'transform', 'transform_norm', 'head_bias'
  return ('embedding' if config.tied_head else 'head',)


def abstract_inputs(config: ModelConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Arguments of a call: one row of one token each."""
  count = 6 if config.architecture == 'encoder_decoder' else 3
  return (jax.ShapeDtypeStruct((1, 1), jnp.int32),) * count
