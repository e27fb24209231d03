"""What text is read and how it is cut into batches."""

import dataclasses

from configs.errors import UserError, choose
from data import sources
from data.audit.quality import RULES
from data.interventions import InterventionConfig
from data.mixture import MixtureConfig
from data.objectives.base import KEEP_LENGTH, ObjectiveConfig

PACKINGS = ('split', 'fit')
DECONTAMINATED = ('none', 'evals', 'train')
TRAINED_TOKENIZERS = ('bpe', 'byte')


@dataclasses.dataclass(frozen=True)
class FilterConfig:
  """Which documents are left out, or changed, before anything else.

  What has a default came after checkpoints that do not have it, which were made
  without.
  """

  exact_duplicates: bool = False
  near_duplicates: float = 0.0
  decontaminate: str = 'none'
  contamination_jaccard: float = 0.8
  contamination_ngrams: float = 0.7
  scrub: bool = False
  quality: tuple[str, ...] = ()

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    choose('data.filters.decontaminate', self.decontaminate, DECONTAMINATED)
    for rule in self.quality:
      choose('data.filters.quality', rule, RULES)
    for key in ('contamination_jaccard', 'contamination_ngrams'):
      value = getattr(self, key)
      if not 0 < value <= 1:
        raise UserError(f'data.filters.{key} = {value}: above 0, at most 1')
    if not 0 <= self.near_duplicates <= 1:
      raise UserError(
        f'data.filters.near_duplicates = {self.near_duplicates}: a Jaccard '
        'similarity above 0, at most 1, or 0 to keep them'
      )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The `data` section of a config; configs/pretrain.py tells of its keys."""

  source: str
  cache_dir: str
  tokenizer: str
  vocab_size: int
  sequence_length: int
  batch_size: int
  seed: int
  # What has a default came after checkpoints that do not have it.
  target_length: int = 0
  packing: str = 'split'
  unique_tokens: int = 0
  num_workers: int = 0
  objective: ObjectiveConfig = dataclasses.field(
    default_factory=ObjectiveConfig
  )
  mixture: MixtureConfig = dataclasses.field(default_factory=MixtureConfig)
  filters: FilterConfig = dataclasses.field(default_factory=FilterConfig)
  interventions: InterventionConfig = dataclasses.field(
    default_factory=InterventionConfig
  )

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    num_sources = len(sources.parse(self.source))
    self._validate_mixture(num_sources)
    if self.vocab_size < 257:
      raise UserError(
        f'data.vocab_size = {self.vocab_size}: at least 257, which are all '
        'bytes and the document separator'
      )
    for key in ('sequence_length', 'batch_size'):
      if getattr(self, key) < 1:
        raise UserError(f'data.{key} = {getattr(self, key)}: at least 1')
    for key in ('seed', 'target_length', 'unique_tokens', 'num_workers'):
      if getattr(self, key) < 0:
        raise UserError(f'data.{key} = {getattr(self, key)}: at least 0')
    choose('data.packing', self.packing, PACKINGS)
    if self.packing == 'split' and self.objective.kind not in KEEP_LENGTH:
      raise UserError(
        f"data.packing = 'split': data.objective.kind = "
        f'{self.objective.kind!r} changes the length of a text; use '
        "data.packing = 'fit'"
      )
    if self.objective.static and self.packing != 'fit':
      raise UserError(
        "data.objective.static = True: needs data.packing = 'fit', where a row "
        'holds the same text in every epoch'
      )

  def _validate_mixture(self, num_sources: int) -> None:
    """Raises UserError where numbers do not go with the sources."""
    mixture = self.mixture
    counts = {
      'weights': {len(mixture.weights)} - {0},
      'max_epochs': {len(mixture.max_epochs)} - {0},
      'stages': {len(stage) - 1 for stage in mixture.stages},
    }
    for key, found in counts.items():
      if found - {num_sources}:
        raise UserError(
          f'data.mixture.{key} = {getattr(mixture, key)}: one for each of the '
          f'{num_sources} sources of data.source'
        )
    if self.unique_tokens and num_sources > 1:
      raise UserError(
        f'data.unique_tokens = {self.unique_tokens}: is of a single source; of '
        'a mixture, cap the epochs (data.mixture.max_epochs)'
      )
    if self.unique_tokens and self.interventions.duplicate_share:
      raise UserError(
        f'data.unique_tokens = {self.unique_tokens}: copies that '
        'data.interventions.duplicate_share puts in would count as unique'
      )
