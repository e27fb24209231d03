"""TensorFlow Datasets: our own data set of Python text, and any other."""

import dataclasses
import hashlib
import importlib
import logging
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from configs.errors import UserError
from data import cache, python_text
from data.rows import Rows
from data.splits import SPLITS

log = logging.getLogger(__name__)

_LEGACY_FOLDERS = ('text', 'question_answering', 'summarization', 'translate')


class PythonDocs(tfds.core.GeneratorBasedBuilder):
  """Docstrings or code of the standard library and our core dependencies.

  It is read from this machine and prepared without TensorFlow. See
  `data.python_text` for the fields and the splits.
  """

  name = python_text.NAME
  VERSION = tfds.core.Version(python_text.VERSION)
  BUILDER_CONFIGS: ClassVar = [
    tfds.core.BuilderConfig(name=kind, description=f'{kind} of Python packages')
    for kind in python_text.KINDS
  ]

  def __init__(
    self,
    *,
    packages: Sequence[str] = tuple(python_text.PACKAGES),
    **kwargs: Any,
  ):
    self._packages = packages
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    fields = ('text', 'library', 'module', 'name', 'kind')
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {field: tfds.features.Text() for field in fields}
      ),
      supervised_keys=None,
      description=type(self).__doc__,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    kind = self.builder_config.name
    found = python_text.extract(kind, self._packages)
    self.info.metadata.update(
      packages=python_text.package_versions(self._packages),
      files=found.num_files,
      files_skipped=found.num_skipped,
    )
    return {
      split: self._generate_examples(found.documents, split) for split in SPLITS
    }

  def _generate_examples(
    self, documents: Sequence[python_text.Document], split: str
  ) -> Iterator[tuple[str, dict[str, str]]]:
    for document in documents:
      if document.split == split:  # TFDS orders by key; texts are distinct
        key = hashlib.sha256(document.text.encode()).hexdigest()
        yield key, dataclasses.asdict(document)


class TfdsRows(Rows):
  """One split, with text decoded to str and scalars to Python numbers.

  Attributes:
    label_names: for each class label, the names its numbers stand for.
  """

  def __init__(self, source: Any, features: Mapping[str, Any], name: str):
    """Takes what `as_data_source` returns, its features and its name."""
    field = _text_field(features, name)

    def read(index: int) -> dict[str, Any]:
      row = {key: _decode(value) for key, value in source[index].items()}
      return row | {'text': row[field]}

    super().__init__(read, len(source))
    self.label_names = {
      key: tuple(feature.names)
      for key, feature in features.items()
      if isinstance(feature, tfds.features.ClassLabel)
    }


def open_tfds(name: str, split: str, cache_dir: str = '') -> TfdsRows:
  """Opens one split of a TFDS data set, preparing it first where possible.

  A data set that is prepared already, in our cache or in TFDS's own folder, is
  only read.

  Args:
    name: such as 'python_docs/docstrings' or 'ag_news_subset'; legacy data
      sets, such as 'glue/sst2', are found too.
    split: as TFDS names it.
    cache_dir: as in `data.cache.root`.

  Raises:
    UserError: no such data set or split, no way to prepare it here, or more
      than one text field and none of them called 'text'.
  """
  builder = _builder(name, cache.root(cache_dir))
  if split not in builder.info.splits:
    raise UserError(
      f'tfds:{name} has no split {split!r}; it has '
      + ', '.join(builder.info.splits)
    )
  try:
    source = builder.as_data_source(split=split)
  except NotImplementedError as error:
    raise UserError(
      f'tfds:{name} is prepared in {builder.data_dir} as '
      f'{builder.info.file_format.value}, which has no random access; prepare '
      'it again with file_format="array_record"'
    ) from error
  return TfdsRows(source, builder.info.features, name)


def split_names(name: str, cache_dir: str = '') -> tuple[str, ...]:
  """The splits of a data set, which is prepared if it is not yet."""
  return tuple(_builder(name, cache.root(cache_dir)).info.splits)


def describe(name: str, cache_dir: str = '') -> dict[str, Any]:
  """Version, digest of the prepared files' index, and what we noted of it."""
  builder = _builder(name, cache.root(cache_dir))
  index = (Path(builder.data_dir) / 'dataset_info.json').read_bytes()
  return {
    'version': str(builder.info.version),
    'index_sha256': hashlib.sha256(index).hexdigest(),
    **(builder.info.metadata or {}),
  }


def prepare_python_docs(
  kind: str,
  root: Path,
  packages: Sequence[str] = tuple(python_text.PACKAGES),
) -> Path:
  """Prepares our data set once for these versions; returns its TFDS folder.

  Raises:
    UserError: an unknown kind, a package that is missing, no text.
  """
  if kind not in python_text.KINDS:
    raise UserError(
      f'no data set {python_text.NAME}/{kind}; choose from '
      + ', '.join(f'{python_text.NAME}/{k}' for k in python_text.KINDS)
    )

  def build(folder: Path) -> dict[str, Any]:
    builder = PythonDocs(config=kind, data_dir=folder, packages=packages)
    builder.download_and_prepare(file_format='array_record')
    return dict(builder.info.metadata)

  digest = python_text.versions_digest(packages)
  path = root / python_text.NAME / f'{kind}-{digest}'
  cache.build_once(path, build)
  return path


def _builder(name: str, root: Path) -> Any:
  """A builder whose data set is prepared."""
  data_set, _, kind = name.partition('/')
  if data_set == python_text.NAME:
    ours = prepare_python_docs(kind, root)
    return read_only_builder.builder_from_files(name, data_dir=ours)
  ours = root / 'tfds'
  folders: tuple[Path | None, ...] = (ours, None)  # None: TFDS's own
  for folder in folders:
    try:
      return read_only_builder.builder_from_files(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
      continue
  with cache.locked(ours):
    return _prepare(name, ours)


def _prepare(name: str, root: Path) -> Any:
  data_set = name.partition('/')[0].partition(':')[0]
  _register_legacy(data_set)
  try:
    builder = tfds.builder(name, data_dir=root)
  except tfds.core.DatasetNotFoundError as error:
    raise UserError(
      f'TFDS has no data set {data_set!r}; see the catalog at '
      'tensorflow.org/datasets'
    ) from error
  except (AssertionError, ValueError) as error:  # a bad config or version
    raise UserError(f'tfds:{name}: {" ".join(str(error).split())}') from error
  log.info('preparing tfds:%s in %s', name, root)
  try:
    builder.download_and_prepare(file_format='array_record')
  except ImportError as error:
    raise UserError(
      f'tfds:{name} cannot be prepared without TensorFlow (reading it can): '
      'run `pip install -e .[tf]`'
    ) from error
  except OSError as error:
    if error.errno is not None:
      raise
    raise UserError(
      f'tfds:{name} could not be downloaded: {" ".join(str(error).split())}'
    ) from error
  return builder


def _register_legacy(data_set: str) -> None:
  """Imports the module of a builder that TFDS does not register by itself."""
  if data_set in tfds.list_builders(with_community_datasets=False):
    return
  for folder in _LEGACY_FOLDERS:
    package = importlib.import_module(f'tensorflow_datasets.{folder}')
    for module in pkgutil.iter_modules(package.__path__):
      if f'{data_set}_'.startswith(f'{module.name}_'):
        importlib.import_module(f'{package.__name__}.{module.name}')


def _text_field(features: Mapping[str, Any], name: str) -> str:
  texts = [k for k, f in features.items() if isinstance(f, tfds.features.Text)]
  if 'text' in texts:
    return 'text'
  if len(texts) != 1:
    raise UserError(
      f'tfds:{name} has {len(texts)} text fields ({", ".join(texts)}) and none '
      "is called 'text': write the one you mean to .jsonl, read by files:GLOB"
    )
  return texts[0]


def _decode(value: Any) -> Any:
  """Prepared text is bytes, mocked text str, numbers 0-dimensional arrays."""
  if isinstance(value, bytes):
    return value.decode(errors='replace')
  if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
    return _decode(value.item())
  return value
