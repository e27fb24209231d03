"""The shape of a transformer."""

import dataclasses

from configs.errors import UserError

ARCHITECTURES = ('decoder', 'encoder', 'encoder_decoder')
# gelu is the tanh form, as is geglu's; gelu_exact is x * Phi(x).
ACTIVATIONS = ('swiglu', 'geglu', 'gelu', 'gelu_exact', 'relu')
GATED = ('swiglu', 'geglu')
NORMS = ('rms', 'layer')
NORM_POSITIONS = ('pre', 'post')
POSITIONS = ('rotary', 'learned', 'sinusoidal', 'relative')
ATTENTION_SCALES = ('sqrt', 'none')
PARAMETRIZATIONS = ('standard', 'mup', 'depth_mup', 'complete_p')
ATTENTIONS = ('auto', 'xla', 'splash', 'cudnn')
COMPUTE_DTYPES = ('float32', 'bfloat16')
MATMULS = ('native', 'int8')
REMAT_POLICIES = ('none', 'dots', 'full', 'offload')

_CHOICES = {
  'architecture': ARCHITECTURES,
  'activation': ACTIVATIONS,
  'norm': NORMS,
  'norm_position': NORM_POSITIONS,
  'positions': POSITIONS,
  'attention_scale': ATTENTION_SCALES,
  'parametrization': PARAMETRIZATIONS,
  'attention': ATTENTIONS,
  'compute_dtype': COMPUTE_DTYPES,
  'matmul': MATMULS,
  'remat': REMAT_POLICIES,
}
_COUNTS = (
  'vocab_size',
  'num_layers',
  'width',
  'num_heads',
  'num_kv_heads',
  'head_width',
  'ffn_width',
  'max_length',
  'rope_original_length',
  'experts_per_token',
  'base_width',
  'base_head_width',
  'base_layers',
)
_ABOVE_ZERO = (
  'norm_epsilon',
  'rope_theta',
  'rope_factor',
  'rope_low_frequency',
)
_FROM_ZERO = (
  'attention_softcap',
  'logit_softcap',
  'token_types',
  'num_classes',
  'num_experts',
  'expert_capacity',
  'router_balance',
  'router_z',
)
_ENCODER_ONLY = ('token_types', 'pooler', 'mlm_head', 'num_classes')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The `model` section; its keys are told in configs/model.py."""

  architecture: str
  vocab_size: int
  num_layers: int
  width: int
  num_heads: int
  num_kv_heads: int
  head_width: int
  ffn_width: int
  activation: str
  norm: str
  norm_epsilon: float
  norm_position: str
  parallel_residual: bool
  biases: bool
  num_experts: int
  experts_per_token: int
  expert_capacity: float
  router_balance: float
  router_z: float
  positions: str
  max_length: int
  rope_theta: float
  rope_fraction: float
  rope_factor: float
  rope_low_frequency: float
  rope_high_frequency: float
  rope_original_length: int
  relative_buckets: int
  relative_max_distance: int
  attention_scale: str
  attention_softcap: float
  qk_norm: bool
  embedding_norm: bool
  token_types: int
  pooler: bool
  mlm_head: bool
  tied_head: bool
  scale_tied_head: bool
  logit_softcap: float
  dropout: float
  compute_dtype: str
  scan_layers: bool
  remat: str
  # What has a default came after checkpoints that do not have it.
  num_classes: int = 0
  start_token: int = 0
  parametrization: str = 'standard'
  base_width: int = 64
  base_head_width: int = 16
  base_layers: int = 2
  attention: str = 'auto'
  matmul: str = 'native'

  @property
  def rotary_width(self) -> int:
    """Dimensions of a head that rotary positions turn."""
    return int(self.rope_fraction * self.head_width)

  def validate(self) -> None:
    """Raises UserError for a shape that cannot be built."""
    for key in _COUNTS:
      self._require(key, getattr(self, key) >= 1, 'at least 1')
    for key in _ABOVE_ZERO:
      self._require(key, getattr(self, key) > 0, 'above 0')
    for key in _FROM_ZERO:
      self._require(key, getattr(self, key) >= 0, 'at least 0')
    for key, allowed in _CHOICES.items():
      self._require(
        key,
        getattr(self, key) in allowed,
        f'choose from {", ".join(allowed)}',
      )
    self._require(
      'num_kv_heads',
      self.num_heads % self.num_kv_heads == 0,
      f'must divide model.num_heads = {self.num_heads}',
    )
    self._require(
      'start_token',
      0 <= self.start_token < self.vocab_size,
      f'from 0 to below model.vocab_size = {self.vocab_size}',
    )
    self._require('dropout', 0 <= self.dropout < 1, 'from 0 to below 1')
    self._validate_positions()
    self._validate_parts()

  def _validate_positions(self) -> None:
    if self.positions == 'rotary':
      self._require(
        'rope_fraction',
        0 < self.rope_fraction <= 1,
        'above 0, at most 1',
      )
      if self.rotary_width < 2 or self.rotary_width % 2:
        raise UserError(
          f'model.head_width = {self.head_width}, of which rope_fraction = '
          f'{self.rope_fraction} is turned: rotary positions turn pairs, so '
          'this must be an even number'
        )
      self._require(
        'rope_high_frequency',
        self.rope_high_frequency > self.rope_low_frequency,
        f'above model.rope_low_frequency = {self.rope_low_frequency}',
      )
    if self.positions == 'relative':
      self._require(
        'relative_buckets',
        self.relative_buckets >= 4 and self.relative_buckets % 4 == 0,
        'a multiple of 4',
      )
      self._require(
        'relative_max_distance',
        self.relative_max_distance > self.relative_buckets // 2,
        f'above half of model.relative_buckets = {self.relative_buckets}',
      )
    if self.positions == 'sinusoidal':
      self._require('width', self.width % 2 == 0, 'even for sines and cosines')

  def _validate_parts(self) -> None:
    if self.architecture != 'encoder':
      for key in _ENCODER_ONLY:
        self._require(
          key, not getattr(self, key), 'only of architecture encoder'
        )
    elif not self.tied_head:
      raise UserError(
        'model.tied_head = False: the head of an encoder is its embedding'
      )
    self._require(
      'num_classes',
      self.pooler or not self.num_classes,
      'they are scored from the pooler, so set model.pooler = True',
    )
    self._require(
      'scale_tied_head',
      not self.scale_tied_head or self.tied_head,
      'only of a tied head',
    )
    if self.num_experts:
      self._require(
        'experts_per_token',
        self.experts_per_token <= self.num_experts,
        f'at most model.num_experts = {self.num_experts}',
      )
      self._require('biases', not self.biases, 'experts have none')
      self._require('matmul', self.matmul == 'native', 'native, of experts')
    if self.parametrization != 'standard':
      self._require(
        'attention_scale',
        self.attention_scale == 'sqrt',
        f"'sqrt' where model.parametrization = {self.parametrization!r}",
      )
      self._require(
        'scale_tied_head',
        not self.scale_tied_head,
        f'model.parametrization = {self.parametrization!r} scales logits',
      )
    if self.parametrization in ('depth_mup', 'complete_p'):
      self._require(
        'norm_position',
        self.norm_position == 'pre',
        f"'pre' where model.parametrization = {self.parametrization!r}",
      )
    if self.parallel_residual and self.norm_position == 'post':
      raise UserError(
        "model.parallel_residual = True: only with model.norm_position = 'pre'"
      )

  def _require(self, key: str, holds: bool, allowed: str) -> None:
    if not holds:
      raise UserError(f'model.{key} = {getattr(self, key)!r}: {allowed}')
