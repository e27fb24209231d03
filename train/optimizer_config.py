"""The typed view of the `optimizer` and `schedule` sections."""

import dataclasses
import math

from configs.errors import UserError, choose

KINDS = ('adamw', 'adafactor', 'lion', 'muon', 'schedule_free')
STATE_DTYPES = ('float32', 'bfloat16')
SCHEDULES = ('wsd', 'cosine', 'linear', 'inverse_sqrt', 'constant')
DECAYS = ('linear', 'sqrt')

# A number of 8 significant bits changes only by more than half of its last one.
_SLOWEST_BFLOAT16 = 1 - 2**-8
# Rates of what is kept in the state's dtype.
_MOMENTS = {
  'adamw': ('b1', 'b2'),
  'adafactor': ('b1', 'b2'),
  'lion': ('b1', 'b2'),
  'muon': ('b1', 'b2', 'momentum'),
  'schedule_free': ('b1', 'b2'),
}
_LEAST_ADAFACTOR_EPS = 1e-18


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """What turns gradients into updates; its keys are told in
  configs/pretrain.py."""

  learning_rate: float
  b1: float
  b2: float
  eps: float
  weight_decay: float
  clip_norm: float
  kind: str = 'adamw'
  momentum: float = 0.95
  update_rms: float = 0.2
  state_dtype: str = 'float32'
  clip_block_norm: float = 0.0
  ema_decay: float = 0.0

  def validate(self) -> None:
    """Raises UserError for a value out of range, or two that clash."""
    choose('optimizer.kind', self.kind, KINDS)
    choose('optimizer.state_dtype', self.state_dtype, STATE_DTYPES)
    for key in ('learning_rate', 'eps'):
      if not 0 < getattr(self, key) < math.inf:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: above 0')
    for key in ('b1', 'b2', 'momentum', 'ema_decay'):
      if not 0 <= getattr(self, key) < 1:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: in [0, 1)')
    for key in ('weight_decay', 'clip_norm', 'clip_block_norm', 'update_rms'):
      if not 0 <= getattr(self, key) < math.inf:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: at least 0')
    if self.kind == 'adafactor' and self.eps < _LEAST_ADAFACTOR_EPS:
      raise UserError(
        f'optimizer.eps = {self.eps}: at least {_LEAST_ADAFACTOR_EPS} with '
        "optimizer.kind = 'adafactor', which adds its square to float32"
      )
    if self.state_dtype == 'bfloat16':
      for key in _MOMENTS[self.kind]:
        if getattr(self, key) > _SLOWEST_BFLOAT16:
          raise UserError(
            f'optimizer.{key} = {getattr(self, key)}: at most '
            f"{_SLOWEST_BFLOAT16} with optimizer.state_dtype = 'bfloat16', "
            'where slower ones stand still'
          )
    if self.kind == 'schedule_free':
      self._validate_schedule_free()

  def _validate_schedule_free(self) -> None:
    if self.b1 == 0:
      raise UserError(
        "optimizer.b1 = 0.0: above 0 with optimizer.kind = 'schedule_free', as "
        'it is the share of the average where gradients are taken'
      )
    if self.ema_decay:
      raise UserError(
        f'optimizer.ema_decay = {self.ema_decay}: 0 with optimizer.kind = '
        "'schedule_free', which averages by itself"
      )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
  """The learning rate over the steps, as a share of its peak."""

  kind: str
  warmup_steps: int
  decay_steps: int
  final_ratio: float
  decay: str = 'linear'

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    choose('schedule.kind', self.kind, SCHEDULES)
    choose('schedule.decay', self.decay, DECAYS)
    for key in ('warmup_steps', 'decay_steps'):
      if getattr(self, key) < 0:
        raise UserError(f'schedule.{key} = {getattr(self, key)}: at least 0')
    if not 0 <= self.final_ratio <= 1:
      raise UserError(f'schedule.final_ratio = {self.final_ratio}: in [0, 1]')
