"""Where checkpoints lie: in folders, or in Google Cloud Storage."""

import json
import pathlib
from typing import cast

import jax
from etils import epath  # comes with Orbax, which names folders by it

from configs.errors import UserError
from configs.files import write_bytes
from train.processes.agree import wait_for_all
from train.workdir import CONFIG

CHECKPOINTS = 'checkpoints'
_CLOUD = 'gs://'
_COMMITTED = 'commit_success.txt'  # Orbax writes it last


def place(path: pathlib.Path | str) -> pathlib.Path:
  """A folder or a file, `gs://BUCKET/PATH` or of this machine.

  Returns:
    An absolute path. One of `gs://` is an `epath.Path`: it has the methods of
    those of pathlib.

  Raises:
    UserError: another kind of address, or an extra that is missing.
  """
  text = str(path)
  if not is_cloud(path):
    if '://' in text:
      raise UserError(f'{text}: give a folder, or {_CLOUD}BUCKET/PATH')
    return pathlib.Path(path).absolute()
  try:
    import gcsfs  # noqa: F401 (epath reads by it)
  except ImportError as error:
    raise UserError(
      f'{text} needs the extra gcs: run `pip install -e .[gcs]`'
    ) from error
  return cast(pathlib.Path, epath.Path(path))


def is_cloud(path: pathlib.Path | str) -> bool:
  """Whether it is of Google Cloud Storage."""
  return str(path).startswith(_CLOUD)


def steps_in(root: pathlib.Path) -> list[int]:
  """The steps of the whole checkpoints of a folder, the oldest first."""
  if not root.is_dir():
    return []
  # Where folders cannot be renamed, one that is there need not be whole.
  return sorted(
    int(folder.name)
    for folder in root.iterdir()
    if folder.name.isdigit()
    and (not is_cloud(root) or (folder / _COMMITTED).exists())
  )


def checkpoints_of(path: pathlib.Path) -> pathlib.Path:
  """The folder in which a run's checkpoints lie.

  Args:
    path: the run's workdir, whose config may name another folder.
  """
  own = path / CHECKPOINTS
  if own.is_dir() or not (path / CONFIG).exists():
    return own
  section = json.loads((path / CONFIG).read_text()).get('checkpoint')
  # Of a run that adapts a checkpoint it is another thing.
  named = section.get('folder', '') if isinstance(section, dict) else ''
  return place(named) / CHECKPOINTS if named else own


def find(path: pathlib.Path | str, step: int | None = None) -> pathlib.Path:
  """The folder of one checkpoint.

  Args:
    path: a run's workdir, a folder that its config names for checkpoints, or a
      checkpoint folder itself; of this machine or of `gs://`.
    step: of a workdir, which checkpoint; None means the newest.

  Raises:
    UserError: there is none.
  """
  path = place(path)
  if (path / 'meta').is_dir() and step is None:
    return path
  root = checkpoints_of(path)
  steps = steps_in(root)
  if not steps:
    raise UserError(f'no checkpoint in {path}')
  if step is not None and step not in steps:
    raise UserError(f'no checkpoint of step {step} in {path}; it has {steps}')
  return root / str(steps[-1] if step is None else step)


def put(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, whole or not at all."""
  if is_cloud(path):
    path.write_bytes(content)  # an object appears when it is whole
  else:
    write_bytes(path, content)


def set_aside(folder: pathlib.Path) -> pathlib.Path:
  """Renames a damaged checkpoint, so that none takes it for one.

  Returns:
    Its new name. Under several processes the first one renames, and all call
    this.
  """
  aside, number = folder.with_name(f'{folder.name}.corrupt'), 1
  while aside.exists():
    number += 1
    aside = folder.with_name(f'{folder.name}.corrupt-{number}')
  wait_for_all(f'names for {folder}')  # all have found the same one free
  if jax.process_index() == 0:
    folder.rename(aside)
  wait_for_all(f'{folder} is {aside}')
  return aside
