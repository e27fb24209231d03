"""Parameters and floating-point operations, counted from the shape alone.

One convention for FLOPs: the forward pass counts every matrix product, two
operations a multiply-add, with attention scores over the full square of the
sequence and the output head included, embedding look-ups not; training takes
three times the forward pass; recomputation is not counted.
"""

import dataclasses

from model.config import GATED, ModelConfig

FLOPS_CONVENTION = 'matmul, full attention, head; training = 3 x forward'


@dataclasses.dataclass(frozen=True)
class ParameterCounts:
  """Number of parameters, by convention.

  Attributes:
    total: all, a tied head counted once.
    non_embedding: without what is looked up (the tables of tokens, positions
      and token types) and without the output heads, of tokens or of classes
      (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
    active: those that one token passes through: of experts, the ones that it
      chooses.
  """

  total: int
  non_embedding: int
  active: int


def count_parameters(config: ModelConfig) -> ParameterCounts:
  """Counts parameters; equal to the elements of the initialized tree."""
  c = config
  norm = _norm(c, c.width)
  attention = sum(_linear(c, *shape) for shape in _attention_shapes(c))
  if c.qk_norm:
    attention += 2 * c.head_width
  ffn = sum(_linear(c, *shape) for shape in _ffn_shapes(c))
  idle = 0
  if c.num_experts:
    idle = (c.num_experts - c.experts_per_token) * ffn
    ffn = c.num_experts * ffn + c.width * c.num_experts
  once = norm if c.norm_position == 'pre' else 0
  if c.positions == 'relative':
    once += c.relative_buckets * c.num_heads
  layer = attention + ffn + 2 * norm
  non_embedding = c.num_layers * layer + once
  if c.architecture == 'encoder_decoder':
    non_embedding += c.num_layers * (layer + attention + norm) + once
  if c.embedding_norm:
    non_embedding += norm
  if c.pooler:
    non_embedding += _linear(c, c.width, c.width)
  tables = c.vocab_size * c.width * (1 if c.tied_head else 2)
  if c.positions == 'learned':
    tables += c.max_length * c.width
  tables += c.token_types * c.width
  if c.mlm_head:
    tables += _linear(c, c.width, c.width) + norm + c.vocab_size
  if c.num_classes:
    tables += _linear(c, c.width, c.num_classes)
  total = non_embedding + tables
  stacks = 2 if c.architecture == 'encoder_decoder' else 1
  active = total - stacks * c.num_layers * idle
  return ParameterCounts(total, non_embedding, active)


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
  """FLOPs of the forward pass for one token of a sequence of `length`.

  Of an encoder-decoder: for one token of the source and one of the target, each
  of `length`. What an encoder does once a document is not counted: its pooler
  and its scores of classes.
  """
  encodes = config.architecture == 'encoder_decoder'
  return forward_flops_per_row(config, length, length * encodes) // length


def training_flops_per_token(config: ModelConfig, length: int) -> int:
  """FLOPs of the forward and backward pass for one token."""
  return 3 * forward_flops_per_token(config, length)


def forward_flops_per_row(
  config: ModelConfig, length: int, source_length: int = 0
) -> int:
  """FLOPs of the forward pass for one row of a batch.

  Padding is computed and counted like any token; so are the logits of places
  that nothing is learnt from.

  Args:
    config: of the model.
    length: L, tokens of a row.
    source_length: S, of an encoder-decoder's source.
  """
  c = config
  total = length * _head(c) + c.num_layers * _layer(c, length)
  if c.architecture == 'encoder_decoder':
    cross = _attention(c, length, source_length)
    total += c.num_layers * (_layer(c, source_length) + cross)
  return total


def training_flops_per_row(
  config: ModelConfig, length: int, source_length: int = 0
) -> int:
  """FLOPs of the forward and backward pass for one row of a batch."""
  return 3 * forward_flops_per_row(config, length, source_length)


def _layer(c: ModelConfig, length: int) -> int:
  """Of attention within a sequence and the feed-forward layer."""
  ffn = _products(_ffn_shapes(c))
  if c.num_experts:
    ffn = c.experts_per_token * ffn + 2 * c.width * c.num_experts
  return _attention(c, length, length) + length * ffn


def _attention(c: ModelConfig, queries: int, keys: int) -> int:
  """Of projections, scores and mixing, by the numbers of places."""
  into_queries, into_keys, into_values, out = _attention_shapes(c)
  scores_and_mix = 2 * 2 * queries * keys * c.num_heads * c.head_width
  return (
    queries * _products([into_queries, out])
    + keys * _products([into_keys, into_values])
    + scores_and_mix
  )


def _head(c: ModelConfig) -> int:
  """Of the logits of one place."""
  if c.architecture == 'encoder' and not c.mlm_head:
    return 0
  transform = c.width if c.mlm_head else 0
  return 2 * c.width * (c.vocab_size + transform)


def _attention_shapes(c: ModelConfig) -> list[tuple[int, int]]:
  """(inputs, outputs) of the query, key, value and output projections."""
  queries, keys = c.num_heads * c.head_width, c.num_kv_heads * c.head_width
  return [(c.width, queries), *[(c.width, keys)] * 2, (queries, c.width)]


def _ffn_shapes(c: ModelConfig) -> list[tuple[int, int]]:
  ups = 2 if c.activation in GATED else 1
  return [(c.width, c.ffn_width)] * ups + [(c.ffn_width, c.width)]


def _products(shapes: list[tuple[int, int]]) -> int:
  return sum(2 * inputs * outputs for inputs, outputs in shapes)


def _linear(c: ModelConfig, inputs: int, outputs: int) -> int:
  return inputs * outputs + (outputs if c.biases else 0)


def _norm(c: ModelConfig, width: int) -> int:
  return width * (2 if c.norm == 'layer' else 1)
