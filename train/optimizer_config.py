"""The typed view of the `optimizer` and `schedule` sections."""

import dataclasses

from configs.errors import UserError

SCHEDULES = ('wsd', 'cosine')


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW (Loshchilov and Hutter 2019) behind a clipped global norm."""

  learning_rate: float
  b1: float
  b2: float
  eps: float
  weight_decay: float
  clip_norm: float

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key in ('learning_rate', 'eps', 'clip_norm'):
      if not getattr(self, key) > 0:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: above 0')
    for key in ('b1', 'b2'):
      if not 0 <= getattr(self, key) < 1:
        raise UserError(f'optimizer.{key} = {getattr(self, key)}: in [0, 1)')
    if self.weight_decay < 0:
      raise UserError(f'optimizer.weight_decay = {self.weight_decay}: below 0')


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
  """The learning rate over the steps, as a share of its peak."""

  kind: str
  warmup_steps: int
  decay_steps: int
  final_ratio: float

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    if self.kind not in SCHEDULES:
      raise UserError(
        f'schedule.kind = {self.kind!r}: choose from {", ".join(SCHEDULES)}'
      )
    for key in ('warmup_steps', 'decay_steps'):
      if getattr(self, key) < 0:
        raise UserError(f'schedule.{key} = {getattr(self, key)}: at least 0')
    if not 0 <= self.final_ratio <= 1:
      raise UserError(f'schedule.final_ratio = {self.final_ratio}: in [0, 1]')
