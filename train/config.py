"""The typed view of a whole run."""

import dataclasses
import math

from configs.errors import UserError
from data.config import DataConfig
from model.config import ModelConfig

SCHEDULES = ('wsd', 'cosine')

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
class MeshConfig:
  """Devices along each mesh axis; -1 takes what the others leave."""

  data: int
  fsdp: int
  tensor: int
  expert: int = 1

  def validate(self) -> None:
    """Raises UserError for a size below 1, or more than one -1."""
    sizes = dataclasses.asdict(self)
    for key, size in sizes.items():
      if size < 1 and size != -1:
        raise UserError(f'mesh.{key} = {size}: at least 1, or -1 to fill')
    if list(sizes.values()).count(-1) > 1:
      raise UserError(f'mesh = {sizes}: only one axis can be -1')

  def shape(self, num_devices: int) -> tuple[int, ...]:
    """Sizes of the axes for a number of devices.

    Raises:
      UserError: the product of the axes is not the number of devices.
    """
    sizes = [self.data, self.fsdp, self.tensor, self.expert]
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and num_devices % known == 0:
      sizes[sizes.index(-1)] = num_devices // known
    if math.prod(sizes) != num_devices:
      raise UserError(
        f'mesh (data, fsdp, tensor, expert) = {tuple(sizes)} does not make up '
        f'{num_devices} devices; set one axis to -1 to fill'
      )
    return tuple(sizes)


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
