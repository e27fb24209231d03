"""Hugging Face `datasets` as a source: `hf:NAME[/CONFIG]`, or `hf:FOLDER`.

A folder is one that `datasets.save_to_disk` has written. A data set of the Hub
is brought once, at its newest revision, and saved in the cache in the same way:
from then on it is only read. A split is the data set's own, whole or in part:
`|train=train[:90%]`, `|train=train+unsupervised`
(huggingface.co/docs/datasets/loading#slice-splits).
"""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import tree
from configs.errors import UserError
from data import cache, fetch
from data.rows import Row, Rows
from data.source_spec import TEXT, SourceSpec

log = logging.getLogger(__name__)

_DATA = 'data'
_TIMEOUT = 4  # seconds
_OWN_NAMES = {  # the first there is
  'train': ('train',),
  'validation': ('validation', 'valid', 'dev'),
  'test': ('test',),
}
_TEXT_TYPES = ('string', 'large_string', 'binary', 'large_binary')

_Part = tuple[str, int, int]  # own name of a split; rows [start, stop)


def open_splits(spec: SourceSpec, cache_dir: str = '') -> dict[str, Rows]:
  """Opens the splits of a data set, bringing it from the Hub first if need be.

  A row has all features and its 'text'; a null is an empty text.

  Args:
    spec: splits that it does not name are the data set's own of the same name,
      where there are any ('validation' may also be 'valid' or 'dev').
    cache_dir: as in `data.cache.root`.

  Raises:
    UserError: the library is missing, no such data set, config, split or text
      field, a Hub out of reach, or a folder of another kind.
  """
  found = _load(spec, cache_dir)
  chosen = _own_splits(found) | dict(spec.splits)
  if not chosen:
    raise UserError(
      f'{spec} has the splits {", ".join(found)}: say which to read, such as '
      f'{spec}|train={next(iter(found))}'
    )
  lengths = {name: len(dataset) for name, dataset in found.items()}
  parts = {s: _parts(spec, asked, lengths) for s, asked in chosen.items()}
  _check_apart(spec, parts)
  return {s: _rows(spec, found, parts_P) for s, parts_P in parts.items()}


def digest(spec: SourceSpec, cache_dir: str = '') -> str:
  """Of the library's own fingerprints, and of the sizes of the files.

  A fingerprint follows from the content and the revision, or from what the
  data set was computed from and how.
  """
  folder = _folder(spec, cache_dir)
  _load(spec, cache_dir)
  states = {
    state.parent.relative_to(folder).as_posix(): [
      json.loads(state.read_text())['_fingerprint'],
      sorted((p.name, p.stat().st_size) for p in state.parent.glob('*.arrow')),
    ]
    for state in folder.rglob('state.json')
  }
  return tree.digest([states, spec.splits])


def describe(spec: SourceSpec, cache_dir: str = '') -> dict[str, Any]:
  """Rows of the data set's own splits, names of labels, version, licence.

  Returns:
    A JSON-able mapping; 'labels' has, for each feature that is a class, the
    names that its numbers stand for. Of a data set of the Hub it has the
    repository, config and revision.
  """
  found = _load(spec, cache_dir)
  info = next(iter(found.values())).info
  known = {
    'version': str(info.version or ''),
    'licence': info.license,
    'homepage': info.homepage,
  }
  if not _is_local(spec.name):
    known |= cache.read_meta(_folder(spec, cache_dir).parent)
  return {key: value for key, value in known.items() if value} | {
    'rows': {name: len(dataset) for name, dataset in found.items()},
    'labels': {
      name: list(feature.names)
      for name, feature in info.features.items()
      if isinstance(feature, _library().ClassLabel)
    },
  }


@dataclasses.dataclass(frozen=True)
class _Reader:
  """Reads a row; pickled, it holds names of files in the place of rows."""

  dataset: Any
  fields: Sequence[str]

  def __call__(self, index: int) -> Row:
    row = self.dataset[index]
    texts = (_decoded(row[field]) for field in self.fields)
    return row | {TEXT: '\n'.join(texts)}


def _decoded(value: str | bytes | None) -> str:
  if isinstance(value, bytes):
    return value.decode(errors='replace')
  return value or ''


def _library() -> Any:
  try:
    import datasets
  except ImportError as error:
    raise UserError(
      'hf:NAME needs the extra hf_datasets: run `pip install -e .[hf_datasets]`'
    ) from error
  return datasets


def _is_local(name: str) -> bool:
  return name.startswith(('/', '.', '~')) or Path(name).is_dir()


def _folder(spec: SourceSpec, cache_dir: str) -> Path:
  """Where the data set is saved, or will be."""
  if _is_local(spec.name):
    return Path(spec.name).expanduser().absolute()
  name = spec.name.replace('/', '--')
  return cache.root(cache_dir) / 'hf' / name / _DATA


def _load(spec: SourceSpec, cache_dir: str) -> dict[str, Any]:
  """The data set's own splits, as `datasets.Dataset`s."""
  library = _library()
  folder = _folder(spec, cache_dir)
  if not _is_local(spec.name):
    cache.build_once(folder.parent, lambda partial: _bring(spec.name, partial))
  try:
    loaded = library.load_from_disk(str(folder))
  except Exception as error:  # of the library, of Arrow, of JSON
    if empty := _without_rows(folder):
      raise UserError(
        f'hf:{spec.name}: {empty} is empty; save the data set without it'
      ) from error
    raise UserError(
      f'hf:{spec.name}: {folder} is not what datasets.save_to_disk writes '
      f'({fetch.one_line(error)}); text files are read by files:GLOB'
    ) from error
  found = loaded if isinstance(loaded, dict) else {'train': loaded}
  if not found:
    raise UserError(f'hf:{spec.name}: {folder} is a data set without a split')
  # a format that was set, such as pandas, or some columns, is saved too
  return {name: dataset.with_format(None) for name, dataset in found.items()}


def _without_rows(folder: Path) -> str:
  """The folder of a split that was saved without rows; '' if none was."""
  for path in sorted(folder.glob('**/state.json')):
    try:
      state = json.loads(path.read_text())
    except ValueError:
      continue
    if isinstance(state, dict) and state.get('_data_files') == []:
      return str(path.parent)
  return ''


def _bring(name: str, partial: Path) -> dict[str, Any]:
  """Saves a data set of the Hub in a folder; returns what the Hub tells."""
  library = _library()
  repository, config, info = _on_hub(name)
  log.info('bringing hf:%s, revision %s', name, info.sha)
  try:
    with tempfile.TemporaryDirectory(dir=partial) as scratch:
      loaded = library.load_dataset(
        repository, config or None, revision=info.sha, cache_dir=scratch
      )
      loaded.save_to_disk(str(partial / _DATA))
  except Exception as error:  # of the library, of the Hub, of Arrow
    raise UserError(
      f'hf:{name} could not be loaded: {fetch.one_line(error)}'
    ) from error
  return {
    'repository': repository,
    'config': config,
    'revision': info.sha,
    'licence': getattr(info.card_data, 'license', None),
  }


def _on_hub(name: str) -> tuple[str, str, Any]:
  """(repository, config or '', what the Hub tells of it).

  Asked once and with little patience: the library itself would try an absent
  Hub for over 20 seconds.
  """
  from huggingface_hub import HfApi, errors  # which `datasets` brings

  for repository, config in _readings(name):
    try:
      info = HfApi().dataset_info(
        repository, timeout=_TIMEOUT, expand=['sha', 'cardData']
      )
      return repository, config, info
    except errors.RepositoryNotFoundError:
      continue
    except Exception as error:  # httpx has a tree of its own
      raise UserError(
        f'hf:{name}: the Hub cannot be reached ({fetch.one_line(error)}); '
        'save_to_disk it where it can, and read hf:FOLDER'
      ) from error
  raise UserError(
    f'hf:{name}: no such data set on the Hub, or it is private: see '
    '`hf auth login`'
  )


def _readings(name: str) -> list[tuple[str, str]]:
  """What NAME may mean: (repository, config), the likelier first."""
  match name.split('/'):
    case [repository]:
      return [(repository, '')]
    case [first, second]:
      return [(name, ''), (first, second)]
    case [owner, repository, config]:
      return [(f'{owner}/{repository}', config)]
  raise UserError(f'hf:{name}: expected hf:NAME, hf:OWNER/NAME or .../CONFIG')


def _own_splits(found: Mapping[str, Any]) -> dict[str, str]:
  return {
    split: next(name for name in names if name in found)
    for split, names in _OWN_NAMES.items()
    if not found.keys().isdisjoint(names)
  }


def _parts(
  spec: SourceSpec, asked: str, lengths: Mapping[str, int]
) -> list[_Part]:
  try:
    instruction = _library().ReadInstruction.from_spec(asked)
    parts = [
      (part.splitname, part.from_, part.to)
      for part in instruction.to_absolute(lengths)
    ]
  except ValueError as error:
    raise UserError(
      f'{spec}: {asked!r} is no split: it has {", ".join(lengths)}, and their '
      'parts, such as train[:90%]'
    ) from error
  if not any(start < stop for _, start, stop in parts):
    raise UserError(f'{spec}: {asked} holds no row')
  return parts


def _check_apart(
  spec: SourceSpec, parts: Mapping[str, Sequence[_Part]]
) -> None:
  """Raises UserError where held-out rows would be trained on."""
  for name, start, stop in parts.get('train', ()):
    for split in parts.keys() - {'train'}:
      for other, first, last in parts[split]:
        if name == other and max(start, first) < min(stop, last):
          raise UserError(
            f'{spec}: train and {split} share rows; give both, such as '
            '|train=train[5%:]|validation=train[:5%]'
          )


def _rows(
  spec: SourceSpec, found: Mapping[str, Any], parts_P: Sequence[_Part]
) -> Rows:
  whole = _library().concatenate_datasets(
    [
      found[name].select(range(start, stop))
      for name, start, stop in parts_P
      if start < stop
    ]
  )
  return Rows(_Reader(whole, _text_fields(spec, whole.features)), len(whole))


def _text_fields(
  spec: SourceSpec, features: Mapping[str, Any]
) -> tuple[str, ...]:
  texts = [
    name
    for name, feature in features.items()
    if getattr(feature, 'dtype', '') in _TEXT_TYPES
  ]
  unknown = [field for field in spec.fields if field not in texts]
  if not unknown:
    return spec.fields
  if spec.fields == (TEXT,) and len(texts) == 1:
    return (texts[0],)
  raise UserError(
    f'{spec} has no text field {unknown[0]!r}; name one of '
    f'{", ".join(texts) or "none"}: hf:{spec.name}|{TEXT}=FIELD'
  )
