"""Our own data set for TFDS: the text of Python packages on this machine."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from configs.errors import UserError
from data import cache, python_text
from data.splits import SPLITS


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


def prepare(
  kind: str,
  root: Path,
  packages: Sequence[str] = tuple(python_text.PACKAGES),
) -> Path:
  """Prepares the data set once for these versions; returns its TFDS folder.

  Args:
    kind: of `data.python_text.KINDS`.
    root: as `data.cache.root` gives it.
    packages: to read, by import name.

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
