"""TensorFlow Datasets as a source: `tfds:NAME[/CONFIG][:VERSION]`.

A split is TFDS's own, whole or in part: `|train=train[:90%]`,
`|train=train+unsupervised`, `|test=test[1000:]`
(tensorflow.org/datasets/splits). A field is a feature's name, or a path to a
nested one: `|text=answers/text`.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from configs import tree
from configs.errors import UserError
from data import cache, python_text, tfds_prepare
from data.rows import Row, Rows
from data.source_spec import TEXT, SourceSpec
from data.splits import SPLITS


def open_splits(spec: SourceSpec, cache_dir: str = '') -> dict[str, Rows]:
  """Opens the splits of a data set, preparing it first where possible.

  A row has all features, as Python's own str, int, float, list and dict, and
  its 'text'.

  Args:
    spec: splits that it does not name are those of TFDS of the same name,
      where there are any.
    cache_dir: as in `data.cache.root`.

  Raises:
    UserError: no such data set, split or text field, no way to prepare it here
      (see `data.tfds_prepare.builder`), or a file format without random access.
  """
  builder = _builder(spec, cache_dir)
  fields = _text_fields(spec, builder.info.features)
  present = {s: s for s in SPLITS if s in builder.info.splits}
  chosen = present | dict(spec.splits)
  if not chosen:
    raise UserError(
      f'{spec} has the splits {", ".join(builder.info.splits)}: say which to '
      f'read, such as {spec}|train={next(iter(builder.info.splits))}'
    )
  opened = {s: _open(spec, builder, asked) for s, asked in chosen.items()}
  _check_apart(spec, {s: builder.info.splits[a] for s, a in chosen.items()})
  return {s: Rows(_Reader(o, fields), len(o)) for s, o in opened.items()}


def digest(spec: SourceSpec, cache_dir: str = '') -> str:
  """Of the prepared files' index, or of the packages our own is read from."""
  if spec.name.partition('/')[0] == python_text.NAME:
    content = python_text.versions_digest()
  else:
    content = describe(spec, cache_dir)['index_sha256']
  return tree.digest([spec.name, spec.splits, content])


def describe(spec: SourceSpec, cache_dir: str = '') -> dict[str, Any]:
  """Version, digest of the index, names of the labels, and what we noted.

  Returns:
    A JSON-able mapping; 'labels' has, for each feature that is a class, the
    names that its numbers stand for.
  """
  builder = _builder(spec, cache_dir)
  index = (Path(builder.data_dir) / 'dataset_info.json').read_bytes()
  return {
    'version': str(builder.info.version),
    'index_sha256': hashlib.sha256(index).hexdigest(),
    'labels': {
      path: list(feature.names)
      for path, feature in _leaves(builder.info.features)
      if isinstance(feature, tfds.features.ClassLabel)
    },
    **(builder.info.metadata or {}),
  }


def _builder(spec: SourceSpec, cache_dir: str) -> Any:
  return tfds_prepare.builder(spec.name, cache.root(cache_dir))


def _open(spec: SourceSpec, builder: Any, split: str) -> Any:
  """What `as_data_source` returns for a split, or a part of one."""
  try:
    if builder.info.splits[split].num_examples < 1:
      raise UserError(f'{spec}: {split} holds no example')
    return builder.as_data_source(split=split)
  except (KeyError, ValueError) as error:
    raise UserError(
      f'{spec}: {split!r} is no split: it has '
      f'{", ".join(builder.info.splits)}, and their parts, such as train[:90%]'
    ) from error
  except NotImplementedError as error:
    raise UserError(
      f'tfds:{spec.name} is prepared in {builder.data_dir} as '
      f'{builder.info.file_format.value}, which has no random access; prepare '
      'it again with file_format="array_record"'
    ) from error


def _check_apart(spec: SourceSpec, infos: Mapping[str, Any]) -> None:
  """Raises UserError where held-out examples would be trained on."""
  train = infos['train'].file_instructions if 'train' in infos else ()
  for split, info in infos.items():
    held_out = () if split == 'train' else info.file_instructions
    for a, b in itertools.product(train, held_out):
      first, last = max(a.skip, b.skip), min(a.skip + a.take, b.skip + b.take)
      if a.filename == b.filename and first < last:
        raise UserError(
          f'{spec}: train and {split} share examples; part them, as in '
          f'|train=train[5%:]|{split}=train[:5%]'
        )


@dataclasses.dataclass(frozen=True)
class _Reader:
  """Reads an example of one split; it can be pickled, as TFDS's sources can."""

  source: Any
  fields: tuple[str, ...]

  def __call__(self, index: int) -> Row:
    row = _decode(self.source[index])
    texts = [_text_at(row, field.split('/')) for field in self.fields]
    return row | {TEXT: '\n'.join(texts)}


def _text_fields(
  spec: SourceSpec, features: Mapping[str, Any]
) -> tuple[str, ...]:
  """The paths of the fields whose values are the text."""
  strings = {
    path: feature
    for path, feature in _leaves(features)
    if feature.np_dtype == np.object_
  }
  unknown = [field for field in spec.fields if field not in strings]
  if not unknown:
    return spec.fields
  listed = ', '.join(strings)
  if spec.fields != (TEXT,):
    raise UserError(
      f'{spec} has no text field {unknown[0]!r}; choose from {listed}'
    )
  texts = [p for p, f in strings.items() if isinstance(f, tfds.features.Text)]
  if len(texts) != 1:
    raise UserError(
      f'{spec} has {len(texts)} text fields and none is called {TEXT!r}: name '
      f'it: tfds:{spec.name}|{TEXT}=FIELD, of {listed}'
    )
  return tuple(texts)


def _leaves(
  features: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  """(path, feature) of all that have no names within, sorted."""
  for name, feature in sorted(features.items()):
    while isinstance(feature, tfds.features.Sequence):
      feature = feature.feature
    if isinstance(feature, tfds.features.FeaturesDict):
      yield from _leaves(feature, f'{prefix}{name}/')
    else:
      yield prefix + name, feature


def _text_at(value: Any, path: list[str]) -> str:
  for key in path:
    value = value[key]
  return '\n'.join(_strings(value))


def _strings(value: Any) -> Iterator[str]:
  if isinstance(value, str):
    yield value
  else:
    for item in value:
      yield from _strings(item)


def _decode(value: Any) -> Any:
  """Prepared text is bytes, mocked text str, numbers are NumPy's."""
  if isinstance(value, bytes):
    return value.decode(errors='replace')
  if isinstance(value, np.generic | np.ndarray):
    return _decode(value.tolist())
  if isinstance(value, dict):
    return {key: _decode(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_decode(item) for item in value]
  return value
