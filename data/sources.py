"""Where documents come from: one way to open every kind of source."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tqdm

from configs import datasets, mixtures, tree
from configs.errors import UserError
from data import cache, files_source, hf_source, source_spec
from data.rows import Row, Rows
from data.source_spec import SourceSpec
from data.splits import SPLITS, split_of

KINDS = ('tfds', 'files', 'hf')
PRESETS = datasets.SOURCES | mixtures.SOURCES
_CHUNK = 2**20  # rows whose places are written together


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
  train split each, by a stable hash of the row's number. Which rows these are
  is noted in the cache.

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
  lent = _lend(found['train'], missing, cache_dir) if missing else {}
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
  """What is known of a source beside its text: versions, skipped files.

  The licence is the publisher's where the kind of source tells it, and else
  that of `configs.datasets` or `configs.mixtures`.
  """
  known = {'source': str(spec), **_kind(spec).describe(spec, cache_dir)}
  listed = _licences().get((spec.kind, spec.name))
  if listed and not known.get('licence'):
    known['licence'] = listed
  return known


def published_weights(text: str) -> tuple[float, ...]:
  """The weights of the mixture that `data.source` names; () of all others."""
  mixture = mixtures.MIXTURES.get(text.strip())
  return mixture.weights if mixture else ()


@functools.cache
def _licences() -> dict[tuple[str, str], str]:
  """The licences that are listed, by kind and name of a source."""
  listed: dict[str, mixtures.Mixture | datasets.Dataset] = {
    **mixtures.MIXTURES,
    **datasets.DATASETS,
  }
  return {
    (spec.kind, spec.name): row.licence
    for name, row in listed.items()
    for spec in source_spec.parse(PRESETS[name])
  }


def _kind(spec: SourceSpec) -> Kind:
  if spec.kind == 'files':
    return files_source
  if spec.kind == 'hf':
    return hf_source
  from data import tfds_source  # takes a second: only where it is needed

  return tfds_source


def _lend(
  train: Rows, missing: Sequence[str], cache_dir: str
) -> dict[str, Rows]:
  """Parts train between itself and the missing splits."""
  size, splits = len(train), ('train', *missing)
  # nothing but these decides which rows are lent
  key = tree.digest([size, splits])
  folder = cache.root(cache_dir) / 'lent' / key
  counts = cache.build_once(
    folder, lambda partial: _write_places(partial, size, splits)
  )
  return {
    split: Rows(_Chosen(train, str(_places_file(folder, split))), counts[split])
    for split in splits
  }


def _places_file(folder: Path, split: str) -> Path:
  return folder / f'{split}.npy'


def _write_places(
  folder: Path, size: int, splits: Sequence[str]
) -> dict[str, int]:
  """Writes which rows of train each split gets; returns how many."""
  indices = tqdm.trange(size, desc='splitting', unit='row', leave=False)
  owners = (split_of(str(index)) for index in indices)
  numbers_R = np.fromiter(
    (splits.index(s if s in splits else 'train') for s in owners),
    np.int8,
    size,
  )
  counts = {}
  for number, split in enumerate(splits):
    counts[split] = int(np.count_nonzero(numbers_R == number))
    places_P = np.lib.format.open_memmap(
      _places_file(folder, split), 'w+', np.int64, (counts[split],)
    )
    start = 0
    for first in range(0, size, _CHUNK):
      found = np.flatnonzero(numbers_R[first : first + _CHUNK] == number)
      places_P[start : start + len(found)] = found + first
      start += len(found)
    places_P.flush()
  return counts


@functools.lru_cache(maxsize=64)
def _open_places(path: str) -> np.ndarray:
  return np.load(path, mmap_mode='r')


@dataclasses.dataclass(frozen=True)
class _Chosen:
  """Reads the rows at some places; it can be pickled where they can."""

  rows: Rows
  places: str  # a file, which is not pickled with it

  def __call__(self, index: int) -> Row:
    return self.rows[int(_open_places(self.places)[index])]
