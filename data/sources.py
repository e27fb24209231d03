"""Where documents come from: one way to open every kind of source."""

from collections.abc import Sequence
from typing import Any

from configs import tree
from data import files_source, python_text
from data.config import DataConfig
from data.rows import Row, Rows
from data.splits import SPLITS, split_of


def open_source(config: DataConfig, split: str) -> Sequence[Row]:
  """The documents of a split: mappings with at least 'text', by index.

  A TFDS data set without a validation or test split lends them a twentieth of
  its train split each, by a stable hash of the row's number.

  Args:
    config: its `source` and `cache_dir` are used.
    split: 'train', 'validation' or 'test'.

  Raises:
    UserError: a source that is missing, empty or unreadable.
  """
  kind, _, name = config.source.partition(':')
  if kind == 'files':
    return files_source.read_splits(name)[split]
  from data import tfds_source  # takes a second: only where it is needed

  present = tfds_source.split_names(name, config.cache_dir)
  missing = set(SPLITS) - set(present)
  if split not in missing and split != 'train':
    return tfds_source.open_tfds(name, split, config.cache_dir)
  rows = tfds_source.open_tfds(name, 'train', config.cache_dir)
  if not missing:
    return rows
  splits = [split_of(str(index)) for index in range(len(rows))]
  lent = [s if s in missing else 'train' for s in splits]
  places = [i for i, s in enumerate(lent) if s == split]
  return Rows(lambda i: rows[places[i]], len(places))


def identity(config: DataConfig) -> str:
  """Digest of what would be read, found without reading it where possible."""
  kind, _, name = config.source.partition(':')
  if kind == 'files':
    return files_source.digest(name)
  if name.partition('/')[0] == python_text.NAME:
    return tree.digest([name, python_text.versions_digest()])
  from data import tfds_source

  described = tfds_source.describe(name, config.cache_dir)
  return tree.digest([name, described['index_sha256']])


def describe(config: DataConfig) -> dict[str, Any]:
  """What is known of a source beside its text: versions, skipped files."""
  kind, _, name = config.source.partition(':')
  if kind == 'files':
    return {'source': config.source}
  from data import tfds_source

  described = tfds_source.describe(name, config.cache_dir)
  return {'source': config.source, **described}
