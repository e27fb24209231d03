"""Where documents come from: one way to open every kind of source."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from configs import datasets, mixtures, tree
from configs.errors import UserError
from data import files_source, hf_source, source_spec
from data.rows import Row, Rows
from data.source_spec import SourceSpec
from data.splits import SPLITS, split_of

KINDS = ('tfds', 'files', 'hf')
PRESETS = datasets.SOURCES | mixtures.SOURCES


class Kind(Protocol):
  """What the module of a kind of source has."""

  def open_splits(self, spec: SourceSpec, cache_dir: str) -> dict[str, Rows]:
    """The splits there are, of `data.splits.SPLITS`."""

  def digest(self, spec: SourceSpec, cache_dir: str) -> str:
    """Changes with the text and its splits, whatever `spec.fields` are."""

  def describe(self, spec: SourceSpec, cache_dir: str) -> dict[str, Any]:
    """What is known beside the text, JSON-able: versions, skipped files."""


def parse(text: str) -> tuple[SourceSpec, ...]:
  """The sources that `data.source` names.

  Args:
    text: as `data.source_spec.parse` tells. The names in `configs.datasets` and
      `configs.mixtures` stand for their sources.

  Raises:
    UserError: what is no source, or of no kind that there is.
  """
  specs = source_spec.parse(text, PRESETS)
  for spec in specs:
    if spec.kind not in KINDS:
      raise UserError(
        f'data.source: {spec}: {spec.kind!r} is no kind of source; choose from '
        f'{", ".join(KINDS)}, or one of {source_spec.families(PRESETS)}'
      )
  return specs


def open_splits(
  spec: SourceSpec, cache_dir: str = ''
) -> dict[str, Sequence[Row]]:
  """The documents of each split: mappings with at least 'text', by index.

  A source without a validation or test split lends them a twentieth of its
  train split each, by a stable hash of the row's number.

  Args:
    spec: one of those that `parse` gives.
    cache_dir: where what is downloaded or prepared lies; see `data.cache.root`.

  Returns:
    'train', 'validation' and 'test', in this order.

  Raises:
    UserError: a source that is missing, empty, unreadable, or has nothing to
      train on.
  """
  found = _kind(spec).open_splits(spec, cache_dir)
  if 'train' not in found:
    raise UserError(
      f'{spec} has no train split, only {", ".join(found)}: name one, as in '
      f'{spec}|train=...'
    )
  missing = [split for split in SPLITS if split not in found]
  lent = _lend(found['train'], missing) if missing else {}
  for split, rows in lent.items():
    if not rows:
      raise UserError(
        f'{spec} has too few rows ({len(found["train"])}) to lend {split} '
        f'some: name one, as in {spec}|{split}=...'
      )
  return {split: (found | lent)[split] for split in SPLITS}


def identity(spec: SourceSpec, cache_dir: str = '') -> str:
  """Digest of what would be read, found without reading it where possible."""
  content = _kind(spec).digest(spec, cache_dir)
  return tree.digest([spec.kind, spec.fields, content])


def describe(spec: SourceSpec, cache_dir: str = '') -> dict[str, Any]:
  """What is known of a source beside its text: versions, skipped files."""
  return {'source': str(spec), **_kind(spec).describe(spec, cache_dir)}


def _kind(spec: SourceSpec) -> Kind:
  if spec.kind == 'files':
    return files_source
  if spec.kind == 'hf':
    return hf_source
  from data import tfds_source  # takes a second: only where it is needed

  return tfds_source


def _lend(train: Rows, missing: Sequence[str]) -> dict[str, Rows]:
  """Parts train between itself and the missing splits."""
  owners = (split_of(str(index)) for index in range(len(train)))
  numbers_R = np.fromiter(
    (SPLITS.index(s if s in missing else 'train') for s in owners),
    np.int8,
    len(train),
  )
  lent = {}
  for split in ('train', *missing):
    places_R = np.flatnonzero(numbers_R == SPLITS.index(split))
    lent[split] = Rows(_Chosen(train, places_R), len(places_R))
  return lent


@dataclasses.dataclass(frozen=True)
class _Chosen:
  """Reads the rows at some places; it can be pickled where they can."""

  rows: Rows
  places_R: np.ndarray

  def __call__(self, index: int) -> Row:
    return self.rows[int(self.places_R[index])]
