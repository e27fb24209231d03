"""The typed view of a whole run."""

import dataclasses

from configs.errors import UserError
from data.config import DataConfig
from model.config import ModelConfig
from train.mesh_config import MeshConfig
from train.optimizer_config import OptimizerConfig, ScheduleConfig

# Where and how a run computes, not what: a run may go on with other values.
RESUMABLE_KEYS = (
  'mesh.',
  'log.',
  'data.cache_dir',
  'data.num_workers',
  'model.attention',
  'model.scan_layers',
  'model.remat',
  'train.log_every_steps',
  'checkpoint.every_steps',
  'checkpoint.keep_last',
  'checkpoint.keep_steps',
)


@dataclasses.dataclass(frozen=True)
class StepConfig:
  """What a compiled step depends on beside model, optimizer and batch."""

  accumulate_steps: int = 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How long, from which seed, and how often to look."""

  num_steps: int
  seed: int
  accumulate_steps: int
  log_every_steps: int
  eval_every_steps: int
  eval_sequences: int

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key in ('num_steps', 'accumulate_steps', 'log_every_steps'):
      if getattr(self, key) < 1:
        raise UserError(f'train.{key} = {getattr(self, key)}: at least 1')
    for key in ('seed', 'eval_every_steps', 'eval_sequences'):
      if getattr(self, key) < 0:
        raise UserError(f'train.{key} = {getattr(self, key)}: at least 0')

  @property
  def step(self) -> StepConfig:
    """What of it is compiled."""
    return StepConfig(self.accumulate_steps)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When to save and what to keep."""

  every_steps: int
  keep_last: int
  keep_steps: tuple[int, ...]
  branch_from: str

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key in ('every_steps', 'keep_last'):
      if getattr(self, key) < 1:
        raise UserError(f'checkpoint.{key} = {getattr(self, key)}: at least 1')


@dataclasses.dataclass(frozen=True)
class LogConfig:
  """Where metrics go beside metrics.jsonl."""

  tensorboard: bool
  wandb_project: str


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Everything one pre-training run depends on."""

  name: str
  model: ModelConfig
  data: DataConfig
  mesh: MeshConfig
  optimizer: OptimizerConfig
  schedule: ScheduleConfig
  train: TrainConfig
  checkpoint: CheckpointConfig
  log: LogConfig

  def validate(self) -> None:
    """Raises UserError where sections do not fit each other."""
    if self.data.vocab_size > self.model.vocab_size:
      raise UserError(
        f'data.vocab_size = {self.data.vocab_size}: more tokens than '
        f'model.vocab_size = {self.model.vocab_size} has rows; make them equal'
      )
    too_long = self.data.sequence_length > self.model.max_length
    if self.model.positions == 'learned' and too_long:
      raise UserError(
        f'data.sequence_length = {self.data.sequence_length}: beyond '
        f'model.max_length = {self.model.max_length} learned positions'
      )
    if self.data.batch_size % self.train.accumulate_steps:
      raise UserError(
        f'train.accumulate_steps = {self.train.accumulate_steps}: must divide '
        f'data.batch_size = {self.data.batch_size}'
      )
    ramps = self.schedule.warmup_steps + (
      self.schedule.decay_steps if self.schedule.kind == 'wsd' else 0
    )
    if ramps > self.train.num_steps:
      raise UserError(
        f'schedule: {ramps} steps of warm-up and decay are more than '
        f'train.num_steps = {self.train.num_steps}'
      )
    if self.checkpoint.branch_from and self.schedule.kind != 'wsd':
      raise UserError(
        'checkpoint.branch_from: only a wsd schedule has a trunk to branch from'
      )

  @property
  def decay_start(self) -> int:
    """The step at which a wsd schedule begins to decay."""
    return self.train.num_steps - self.schedule.decay_steps

  @property
  def tokens_per_step(self) -> int:
    """Tokens of one global batch."""
    return self.data.batch_size * self.data.sequence_length
