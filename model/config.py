"""The shape of a transformer."""

import dataclasses

from configs.errors import UserError

ACTIVATIONS = ('swiglu', 'gelu')
NORMS = ('rms', 'layer')
POSITIONS = ('rotary', 'learned')
COMPUTE_DTYPES = ('float32', 'bfloat16')
REMAT_POLICIES = ('none', 'dots', 'full')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The `model` section; its keys are told in configs/pretrain.py."""

  vocab_size: int
  num_layers: int
  width: int
  num_heads: int
  num_kv_heads: int
  head_width: int
  ffn_width: int
  activation: str
  norm: str
  positions: str
  max_length: int
  rope_theta: float
  tied_head: bool
  compute_dtype: str
  scan_layers: bool
  remat: str

  def validate(self) -> None:
    """Raises UserError for a shape that cannot be built."""
    for key in (
      'vocab_size',
      'num_layers',
      'width',
      'num_heads',
      'num_kv_heads',
      'head_width',
      'ffn_width',
      'max_length',
    ):
      if getattr(self, key) < 1:
        raise UserError(f'model.{key} = {getattr(self, key)}: at least 1')
    for key, allowed in (
      ('activation', ACTIVATIONS),
      ('norm', NORMS),
      ('positions', POSITIONS),
      ('compute_dtype', COMPUTE_DTYPES),
      ('remat', REMAT_POLICIES),
    ):
      if getattr(self, key) not in allowed:
        raise UserError(
          f'model.{key} = {getattr(self, key)!r}: choose from '
          + ', '.join(allowed)
        )
    if self.num_heads % self.num_kv_heads:
      raise UserError(
        f'model.num_kv_heads = {self.num_kv_heads}: must divide '
        f'model.num_heads = {self.num_heads}'
      )
    if self.positions == 'rotary' and self.head_width % 2:
      raise UserError(
        f'model.head_width = {self.head_width}: rotary positions turn pairs, '
        'so it must be even'
      )
    if self.rope_theta <= 0:
      raise UserError(f'model.rope_theta = {self.rope_theta}: above 0')
