"""The typed view of a study's config."""

import dataclasses

from ml_collections import ConfigDict

from configs.errors import UserError
from configs.sizes import SIZES
from configs.tree import flatten, to_dataclass
from scaling.laws import known_law
from scaling.points import CONVENTIONS


@dataclasses.dataclass(frozen=True)
class LadderConfig:
  """Sizes times tokens."""

  sizes: tuple[str, ...]
  tokens: tuple[int, ...]
  warmup_tokens: int
  decay_fraction: float

  def validate(self) -> None:
    """Raises UserError for a ladder that cannot be grown."""
    for size in self.sizes:
      _check_size('ladder.sizes', size)
    for key in ('sizes', 'tokens'):
      values = getattr(self, key)
      if not values or len(set(values)) < len(values):
        raise UserError(f'ladder.{key} = {values}: some, each once')
    if list(self.tokens) != sorted(self.tokens):
      raise UserError(f'ladder.tokens = {self.tokens}: from few to many')
    if not 0 < self.decay_fraction < 1:
      raise UserError(
        f'ladder.decay_fraction = {self.decay_fraction}: in (0, 1)'
      )


@dataclasses.dataclass(frozen=True)
class NoiseConfig:
  """The rung that is run with several seeds."""

  size: str
  tokens: int
  repeats: int


@dataclasses.dataclass(frozen=True)
class HeldoutConfig:
  """The rung that is forecast before it is trained."""

  size: str
  tokens: int

  def validate(self) -> None:
    """Raises UserError for a size that does not exist."""
    _check_size('heldout.size', self.size)


@dataclasses.dataclass(frozen=True)
class LawConfig:
  """How the law is fitted."""

  params: str
  forms: tuple[str, ...]
  level: float
  resamples: int

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    if self.params not in CONVENTIONS:
      raise UserError(
        f'law.params = {self.params!r}: choose from {", ".join(CONVENTIONS)}'
      )
    if not self.forms:
      raise UserError('law.forms = (): at least one law')
    for name in self.forms:
      law = known_law(name)
      if (law.value, {*law.inputs}) != ('loss', {'params', 'tokens'}):
        raise UserError(
          f'law.forms: {name} is no law of loss by params and tokens'
        )
    if not 0 < self.level < 1:
      raise UserError(f'law.level = {self.level}: in (0, 1)')


@dataclasses.dataclass(frozen=True)
class EvalsConfig:
  """The task whose accuracy is forecast."""

  task: str
  metric: str
  chance: float
  shots: int
  items: int
  heldout_rows: int


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
  """Which rungs are adapted to which task, and how."""

  task: str
  sizes: tuple[str, ...]
  modes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class StudyConfig:
  """Everything a study depends on; keys are told in configs/study.py.

  `pretrain` holds overrides of `configs.pretrain` that all rungs share.
  """

  name: str
  seed: int
  ladder: LadderConfig
  noise: NoiseConfig
  heldout: HeldoutConfig
  law: LawConfig
  evals: EvalsConfig
  finetune: FinetuneConfig
  pretrain: dict

  def validate(self) -> None:
    """Raises UserError where sections do not fit each other."""
    if self.noise.size not in self.ladder.sizes:
      raise UserError(
        f'noise.size = {self.noise.size!r}: one of ladder.sizes, '
        f'{", ".join(self.ladder.sizes)}'
      )
    if self.noise.tokens not in self.ladder.tokens:
      raise UserError(
        f'noise.tokens = {self.noise.tokens}: one of ladder.tokens, '
        f'{self.ladder.tokens}'
      )
    held_out = self.heldout.size, self.heldout.tokens
    if held_out[0] in self.ladder.sizes and held_out[1] in self.ladder.tokens:
      raise UserError(f'heldout = {held_out}: is a rung of the ladder')
    known = {*self.ladder.sizes, self.heldout.size}
    for size in self.finetune.sizes:
      if size not in known:
        raise UserError(
          f'finetune.sizes: {size!r} is not trained; choose from '
          + ', '.join(sorted(known))
        )


def study_config(config: ConfigDict) -> StudyConfig:
  """Reads a study's config.

  Raises:
    UserError: a key or a value that cannot be.
  """
  tree = config.to_dict()
  return to_dataclass(
    StudyConfig, tree | {'pretrain': flatten(tree['pretrain'])}
  )


def _check_size(key: str, size: str) -> None:
  if size not in SIZES:
    raise UserError(f'{key}: no size {size!r}; choose from {", ".join(SIZES)}')
