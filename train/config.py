"""The typed view of a whole run."""

import dataclasses
import math
import os

from configs.chips import CHIPS
from configs.errors import UserError, choose
from configs.grids import GRAMS_PER_KWH, PUE
from data.config import DataConfig
from model.config import ModelConfig
from train.mesh.config import MeshConfig
from train.optimizer_config import OptimizerConfig, ScheduleConfig
from train.spikes import SpikeConfig

# Where and how a run computes, not what: a run may go on with other values.
RESUMABLE_KEYS = (
  'mesh.',
  'log.',
  'costs.',
  'data.cache_dir',
  'data.num_workers',
  'model.attention',
  'model.scan_layers',
  'model.remat',
  'train.loss_chunks',
  'train.compile_cache',
  'train.log_every_steps',
  'checkpoint.every_steps',
  'checkpoint.keep_last',
  'checkpoint.keep_steps',
  'checkpoint.keep_best',
  'checkpoint.keep_every_steps',
  'checkpoint.folder',
)

_NO_SPIKES = SpikeConfig()


@dataclasses.dataclass(frozen=True)
class StepConfig:
  """What a compiled step depends on beside model, optimizer and batch."""

  accumulate_steps: int = 1
  z_loss: float = 0.0
  loss_chunks: int = 1
  skip_spikes: bool = False


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How long, from which seed, and how often to look."""

  num_steps: int
  seed: int
  accumulate_steps: int
  log_every_steps: int
  eval_every_steps: int
  eval_sequences: int
  # What has a default came after checkpoints that do not have it.
  z_loss: float = 0.0
  loss_chunks: int = 1
  compile_cache: str = ''
  spike: SpikeConfig = _NO_SPIKES

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key in (
      'num_steps',
      'accumulate_steps',
      'loss_chunks',
      'log_every_steps',
    ):
      if getattr(self, key) < 1:
        raise UserError(f'train.{key} = {getattr(self, key)}: at least 1')
    for key in ('z_loss', 'eval_every_steps', 'eval_sequences'):
      if not 0 <= getattr(self, key) < math.inf:
        raise UserError(f'train.{key} = {getattr(self, key)}: at least 0')
    if not 0 <= self.seed < 2**32:  # of which JAX makes a key
      raise UserError(f'train.seed = {self.seed}: in [0, 2^32)')

  @property
  def most_batches(self) -> int:
    """That may be asked for: going back from a spike passes over some."""
    rewinds = self.spike.action == 'rewind'
    spare = self.spike.max_rewinds * self.spike.margin_steps
    return self.num_steps + rewinds * spare

  @property
  def step(self) -> StepConfig:
    """What of it is compiled."""
    return StepConfig(
      self.accumulate_steps,
      self.z_loss,
      self.loss_chunks,
      skip_spikes=self.spike.action == 'skip',
    )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When to save and what to keep."""

  every_steps: int
  keep_last: int
  keep_steps: tuple[int, ...]
  branch_from: str
  folder: str = ''
  keep_best: int = 0
  keep_every_steps: int = 0

  def due(self, step: int) -> bool:
    """Whether a step is saved for its number alone."""
    intervals = self.every_steps, self.keep_every_steps
    return step in self.keep_steps or any(
      every and step % every == 0 for every in intervals
    )

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    for key in ('every_steps', 'keep_last'):
      if getattr(self, key) < 1:
        raise UserError(f'checkpoint.{key} = {getattr(self, key)}: at least 1')
    for key in ('keep_best', 'keep_every_steps'):
      if getattr(self, key) < 0:
        raise UserError(f'checkpoint.{key} = {getattr(self, key)}: at least 0')
    for step in self.keep_steps:
      if step < 1:
        raise UserError(f'checkpoint.keep_steps has {step}: steps from 1 on')
    local = self.folder and '://' not in self.folder
    if local and not os.path.isabs(self.folder):
      raise UserError(
        f'checkpoint.folder = {self.folder!r}: an absolute path, or gs://...; '
        'the run may go on from another directory'
      )
    if '://' in self.folder and not self.folder.startswith('gs://'):
      raise UserError(
        f'checkpoint.folder = {self.folder!r}: a folder, or gs://BUCKET/PATH'
      )


@dataclasses.dataclass(frozen=True)
class LogConfig:
  """Where metrics go beside metrics.jsonl."""

  tensorboard: bool
  wandb_project: str


@dataclasses.dataclass(frozen=True)
class CostsConfig:
  """What energy, carbon and money are reckoned from."""

  energy: str = 'rated'
  chip: str = ''
  watts: float = 0.0
  usd_per_hour: float = 0.0
  prices: str = ''
  region: str = 'world'
  pue: float = PUE

  def validate(self) -> None:
    """Raises UserError for a name or a value that cannot be."""
    choose('costs.energy', self.energy, ('rated', 'measured'))
    if self.chip:
      choose('costs.chip', self.chip, CHIPS)
    choose('costs.region', self.region, GRAMS_PER_KWH)
    for key in ('watts', 'usd_per_hour'):
      if not 0 <= getattr(self, key) < math.inf:
        raise UserError(f'costs.{key} = {getattr(self, key)}: at least 0')
    if not 1 <= self.pue < math.inf:
      raise UserError(f'costs.pue = {self.pue}: at least 1')
    if self.energy == 'measured' and self.watts:
      raise UserError(
        f'costs.watts = {self.watts:g}: assumed, and costs.energy = '
        "'measured'; leave one of them"
      )
    if self.prices and self.usd_per_hour:
      raise UserError(
        f'costs.usd_per_hour = {self.usd_per_hour:g}: assumed, and '
        f'costs.prices = {self.prices!r}; leave one of them'
      )


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
  costs: CostsConfig = CostsConfig()

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
    self._validate_chunks()
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

  def _validate_chunks(self) -> None:
    key, length = 'sequence_length', self.data.sequence_length
    if self.model.architecture == 'encoder_decoder':
      # 0 follows from the source, and is checked once it is known.
      key, length = 'target_length', self.data.target_length
    if length % self.train.loss_chunks:
      raise UserError(
        f'train.loss_chunks = {self.train.loss_chunks}: must divide '
        f'data.{key} = {length}'
      )

  @property
  def decay_start(self) -> int:
    """The step at which a wsd schedule begins to decay."""
    return self.train.num_steps - self.schedule.decay_steps

  @property
  def tokens_per_step(self) -> int:
    """Tokens of one global batch."""
    return self.data.batch_size * self.data.sequence_length
