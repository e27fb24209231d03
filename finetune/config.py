"""The typed view of adapting a checkpoint to a task."""

import dataclasses

from configs.errors import UserError
from train.mesh.config import MeshConfig
from train.optimizer_config import OptimizerConfig, ScheduleConfig

MODES = ('full', 'scratch', 'probe')


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
  """Its keys are told in configs/finetune.py."""

  task: str
  mode: str
  seed: int
  max_length: int
  train_examples: int
  eval_examples: int
  batch_size: int
  num_steps: int
  warmup_steps: int
  log_every_steps: int
  eval_every_steps: int
  probe_l2: float
  optimizer: OptimizerConfig
  mesh: MeshConfig

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    if self.mode not in MODES:
      raise UserError(f'mode = {self.mode!r}: choose from {", ".join(MODES)}')
    if self.max_length < 2:
      raise UserError(
        f'max_length = {self.max_length}: at least 2, a separator and a token'
      )
    for key in ('batch_size', 'num_steps', 'log_every_steps'):
      if getattr(self, key) < 1:
        raise UserError(f'{key} = {getattr(self, key)}: at least 1')
    for key in ('seed', 'train_examples', 'eval_examples', 'eval_every_steps'):
      if getattr(self, key) < 0:
        raise UserError(f'{key} = {getattr(self, key)}: at least 0')
    if not 0 <= self.warmup_steps <= self.num_steps:
      raise UserError(
        f'warmup_steps = {self.warmup_steps}: from 0 to num_steps = '
        f'{self.num_steps}'
      )
    if not self.probe_l2 > 0:
      raise UserError(
        f'probe_l2 = {self.probe_l2}: above 0, or the best weights are infinite'
      )

  @property
  def schedule(self) -> ScheduleConfig:
    """Linear warm-up, linear decay over all that is left."""
    return ScheduleConfig(
      kind='wsd',
      warmup_steps=self.warmup_steps,
      decay_steps=self.num_steps - self.warmup_steps,
      final_ratio=0.0,
    )
