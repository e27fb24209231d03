"""TensorFlow Datasets on this machine: found, or downloaded and prepared."""

import difflib
import importlib
import logging
import os
import pkgutil
import re
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from configs.errors import UserError
from data import cache, python_docs, python_text

log = logging.getLogger(__name__)

MANUAL_DIR = 'TFDS_MANUAL_DIR'  # of the environment
_NAME = re.compile(r'[a-zA-Z]\w*(/[\w+.-]+)?(:\d+(\.(\d+|\*)){2})?')
_PATIENCE = 6  # seconds, for a host to answer
_LEGACY_FOLDERS = ('text', 'question_answering', 'summarization', 'translate')


def builder(name: str, root: Path) -> Any:
  """A TFDS builder whose data set is prepared, preparing it where possible.

  A data set that is prepared already, in our cache or in TFDS's own folder, is
  only read. Otherwise it is made in `root`/tfds. Files that its publisher does
  not let TFDS download, and files for a machine without a network, are given
  by hand: they are looked for in `$TFDS_MANUAL_DIR`, by default TFDS's own
  `root`/tfds/downloads/manual. A file that stands in for a download is taken
  only if its SHA-256 is the one that TFDS has on record.

  Args:
    name: such as 'python_docs/docstrings' or 'ag_news_subset:1.0.0'.
    root: as `data.cache.root` gives it.

  Raises:
    UserError: no such data set, or no way to prepare it here.
  """
  data_set, _, config = name.partition('/')
  if data_set == python_text.NAME:
    ours = python_docs.prepare(config, root)
    return read_only_builder.builder_from_files(name, data_dir=ours)
  _check_name(name)
  ours = root / 'tfds'
  folders: tuple[Path | None, ...] = (ours, None)  # None: TFDS's own
  for folder in folders:
    try:
      return read_only_builder.builder_from_files(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
      continue
  with cache.locked(ours):
    return _prepare(name, ours)


def register_legacy(data_set: str) -> None:
  """Imports the module of a builder that TFDS does not register by itself."""
  if data_set in tfds.list_builders(with_community_datasets=False):
    return
  for folder in _LEGACY_FOLDERS:
    package = importlib.import_module(f'tensorflow_datasets.{folder}')
    for module in pkgutil.iter_modules(package.__path__):
      if f'{data_set}_'.startswith(f'{module.name}_'):
        importlib.import_module(f'{package.__name__}.{module.name}')


def _check_name(name: str) -> None:
  if not _NAME.fullmatch(name):
    raise UserError(
      f'{f"tfds:{name}"!r}: expected NAME[/CONFIG][:VERSION], a version as '
      '1.2.3 or 1.*.*; what is on the Hugging Face Hub is read by hf:'
    )


def _prepare(name: str, ours: Path) -> Any:
  """Downloads and prepares a data set in the folder `ours`."""
  manual = _manual_dir(ours)
  try:
    made = _registered(name, ours)
    log.info('preparing tfds:%s in %s', name, ours)
    _look_before_downloads(made, name, manual)
    made.download_and_prepare(
      file_format='array_record',
      download_config=tfds.download.DownloadConfig(manual_dir=manual),
    )
  except ImportError as error:
    raise UserError(_missing(name, error)) from error
  except tfds.download.download_manager.NonMatchingChecksumError as error:
    raise UserError(
      f'tfds:{name}: a file is not the one that TFDS knows: {_line(error)}'
    ) from error
  except (AssertionError, ValueError) as error:
    if not re.search('manual|too old', str(error).lower()):
      raise
    raise UserError(f'tfds:{name}: {_line(error)}') from error
  except (OSError, tfds.download.DownloadError) as error:
    if isinstance(error, OSError) and error.errno is not None:
      _check_given(name, manual, error)
      raise
    raise UserError(
      f'tfds:{name} could not be downloaded: {_line(error)}'
    ) from error
  return made


def _registered(name: str, ours: Path) -> Any:
  """The builder that TFDS has under a name."""
  data_set = name.partition('/')[0].partition(':')[0]
  register_legacy(data_set)
  try:
    return tfds.builder(name, data_dir=ours)
  except tfds.core.DatasetNotFoundError as error:
    raise UserError(
      f'TFDS has no data set {data_set!r}; see the catalog at '
      'tensorflow.org/datasets'
    ) from error
  except (AssertionError, ValueError) as error:  # a bad config or version
    _check_config(name)
    raise UserError(f'tfds:{name}: {_line(error)}') from error


def _check_config(name: str) -> None:
  data_set, _, config = name.partition(':')[0].partition('/')
  known = tfds.builder_cls(data_set).builder_configs
  if config and config not in known:
    near = difflib.get_close_matches(config, known, n=5, cutoff=0)
    raise UserError(
      f'tfds:{name}: {data_set} has no configuration {config!r}; of its '
      f'{len(known)}, the nearest are {", ".join(near) or "none"}'
    )


def _check_given(name: str, manual: Path, error: OSError) -> None:
  """Raises UserError where a file that is given by hand is not there."""
  if str(manual) in str(error.filename):
    raise UserError(
      f'tfds:{name} needs {error.filename}, which is given by hand '
      f'({error.strerror})'
    ) from error


def _manual_dir(ours: Path) -> Path:
  given = os.environ.get(MANUAL_DIR)
  return Path(given).expanduser() if given else ours / 'downloads' / 'manual'


def _look_before_downloads(made: Any, name: str, manual: Path) -> None:
  """Lets a builder look for a host before it downloads from there.

  TFDS tries a host that is not there ten times, for minutes. Only the download
  itself tells which files are needed: others may lie in the manual folder.
  """
  make_manager, folder = made._make_download_manager, made.data_dir
  answered = set()

  def make_careful(**kwargs: Any) -> Any:
    manager = make_manager(**kwargs)
    download = manager._download

    def careful(resource: Any) -> Any:
      host = urllib.parse.urlsplit(resource.url).netloc
      if host not in answered:
        problem = _unreachable(resource.url)
        if problem:
          known = manager._url_infos.get(resource.url)
          file = known and known.filename
          by_hand = f'put {file} into {manual}, or ' if file else ''
          raise UserError(
            f'tfds:{name} is not prepared, and {host}, which has '
            f'{resource.url}, does not answer ({problem}): {by_hand}copy '
            f'{folder} from a machine that has prepared it'
          )
        answered.add(host)
      return download(resource)

    manager._download = careful
    return manager

  made._make_download_manager = make_careful


def _unreachable(url: str) -> str:
  """Why there is no answer from a host, in a word; '' if there is one."""
  found = []
  # resolving a name knows no timeout, hence a thread
  thread = threading.Thread(target=lambda: found.append(_ask(url)), daemon=True)
  thread.start()
  thread.join(_PATIENCE)
  return found[0] if found else 'Timeout'


def _ask(url: str) -> str:
  if not url.startswith('http'):
    return ''
  try:  # the environment's proxies are used, as TFDS does
    requests.head(url, timeout=_PATIENCE, allow_redirects=True)
  except (requests.ConnectionError, requests.Timeout) as error:
    return type(error).__name__
  except requests.RequestException:
    pass  # an answer, if an odd one: TFDS will tell more
  return ''


def _missing(name: str, error: ImportError) -> str:
  if 'tensorflow' in str(error):
    return (
      f'tfds:{name} cannot be prepared without TensorFlow (reading it can): '
      'run `pip install -e .[tf]`'
    )
  return f'tfds:{name} cannot be prepared ({_line(error)}): install it'


def _line(error: Exception) -> str:
  return ' '.join(str(error).split())
