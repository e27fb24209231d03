"""The typed view of the `optimizer` and `schedule` sections."""

import dataclasses

from configs.errors import UserError, choose

KINDS = ('adamw', 'adafactor', 'lion', 'muon', 'schedule_free')
STATE_DTYPES = ('float32', 'bfloat16')
SCHEDULES = ('wsd', 'cosine', 'linear', 'inverse_sqrt', 'constant')
DECAYS = ('linear', 'sqrt')

# A number of 8 significant bits changes only by more than half of its last one.
_SLOWEST_BFLOAT16 = 1 - 2**-8


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
      if not getattr(self, key) > 0:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: above 0')
    for key in ('b1', 'b2', 'momentum', 'ema_decay'):
      if not 0 <= getattr(self, key) < 1:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: in [0, 1)')
    if self.weight_decay < 0:
      raise UserError(f'optimizer.weight_decay = {self.weight_decay}: below 0')
    for key in ('clip_norm', 'clip_block_norm', 'update_rms'):
      if not getattr(self, key) >= 0:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: at least 0')
    if self.state_dtype == 'bfloat16' and self.b2 > _SLOWEST_BFLOAT16:
      raise UserError(
        f'optimizer.b2 = {self.b2}: at most {_SLOWEST_BFLOAT16} with '
        "optimizer.state_dtype = 'bfloat16', where slower ones stand still"
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
