"""Parameters and floating-point operations, counted from the shape alone.

One convention for FLOPs: the forward pass counts every matrix product, two
operations a multiply-add, with attention scores over the full square of the
sequence and the output head included, embedding look-ups not; training takes
three times the forward pass; recomputation is not counted.
"""

import dataclasses

from model.config import ModelConfig

FLOPS_CONVENTION = 'matmul, full attention, head; training = 3 x forward'


@dataclasses.dataclass(frozen=True)
class ParameterCounts:
  """Number of parameters, by convention.

  Attributes:
    total: all, a tied head counted once.
    non_embedding: without the embedding, the position table and the head
      (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
    active: those that one token passes through; `total` without experts.
  """

  total: int
  non_embedding: int
  active: int


def count_parameters(config: ModelConfig) -> ParameterCounts:
  """Counts parameters; equal to the elements of the initialized tree."""
  c = config
  norm = c.width * (2 if c.norm == 'layer' else 1)
  layer = _layer_matrix_elements(c) + 2 * norm
  non_embedding = c.num_layers * layer + norm
  tables = c.vocab_size * c.width * (1 if c.tied_head else 2)
  if c.positions == 'learned':
    tables += c.max_length * c.width
  total = non_embedding + tables
  return ParameterCounts(total, non_embedding, active=total)


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
  """FLOPs of the forward pass for one token of a sequence of `length`."""
  c = config
  scores_and_mix = 2 * 2 * length * c.num_heads * c.head_width
  per_layer = 2 * _layer_matrix_elements(c) + scores_and_mix
  return c.num_layers * per_layer + 2 * c.width * c.vocab_size


def training_flops_per_token(config: ModelConfig, length: int) -> int:
  """FLOPs of the forward and backward pass for one token."""
  return 3 * forward_flops_per_token(config, length)


def _layer_matrix_elements(c: ModelConfig) -> int:
  attention = 2 * c.width * c.head_width * (c.num_heads + c.num_kv_heads)
  ffn = c.width * c.ffn_width * (3 if c.activation == 'swiglu' else 2)
  return attention + ffn
