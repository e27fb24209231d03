"""A run's folder: whose it is, and whether it is finished."""

import contextlib
import fcntl
import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from configs.errors import UserError
from configs.files import write_json
from configs.tree import defaults, differences, flatten
from train.config import RESUMABLE_KEYS, RunConfig

CONFIG = 'config.json'
DONE = 'done.json'
LAYOUT = 'layout.txt'  # where each array lies


def as_json(tree: Any) -> Any:
  """The tree as it comes back from JSON: tuples are lists."""
  return json.loads(json.dumps(tree))


def check(workdir: pathlib.Path, tree: Mapping[str, Any]) -> None:
  """Makes sure that the folder, if it is a run's, is of this config.

  Raises:
    UserError: it holds a run of another config.
  """
  path = workdir / CONFIG
  if not path.exists():
    return
  change = difference(json.loads(path.read_text()), tree)
  if change:
    raise UserError(
      f'{workdir} holds a run of another config: {change}; choose another '
      'workdir, or delete that one'
    )


@contextlib.contextmanager
def claimed(workdir: pathlib.Path, tree: Mapping[str, Any]) -> Iterator[None]:
  """Makes the folder this config's, and no other process's meanwhile.

  The lock ends with the process, however that ends.

  Raises:
    UserError: it cannot be written, or another process is at work there.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / '.lock').open('w')
  except OSError as error:
    raise UserError(
      f'{workdir}: cannot write there ({error.strerror}); '
      'choose another workdir'
    ) from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
        f'{workdir}: another process is at work there; wait for it, or choose '
        'another workdir'
      ) from error
    check(workdir, tree)
    if not (workdir / CONFIG).exists():
      write_json(workdir / CONFIG, tree)
    yield


def see_claim(workdir: pathlib.Path, who: str, timeout: float = 60) -> None:
  """Makes sure that a process sees the folder that process 0 has claimed.

  Args:
    workdir: of the run.
    who: names the process.
    timeout: seconds that a network's disk may take to show what is new.

  Raises:
    UserError: it does not.
  """
  deadline = time.monotonic() + timeout
  while not (workdir / CONFIG).exists():
    if time.monotonic() > deadline:
      raise UserError(
        f'{workdir}: {who} does not see what process 0 wrote there; give a '
        'workdir that all machines share, or checkpoint.folder=gs://...'
      )
    time.sleep(0.1)


def difference(
  there: Mapping[str, Any],
  here: Mapping[str, Any],
  allowed: tuple[str, ...] = RESUMABLE_KEYS,
) -> str:
  """Tells the first key in which two configs differ; '' when none does.

  Keys in `allowed`, and those of a section in it ('mesh.'), may differ. A key
  that is missing is younger than the config, and has its default there.
  """
  sections = tuple(key for key in allowed if key.endswith('.'))
  younger = as_json(defaults(RunConfig))
  for key, old, new in differences(
    younger | flatten(there), younger | flatten(here)
  ):
    if key not in allowed and not key.startswith(sections):
      return f'{key} is {old!r} there and {new!r} here'
  return ''


def mark_done(workdir: pathlib.Path, result: Mapping[str, Any]) -> None:
  """Writes the completion marker: the last thing a run does."""
  write_json(workdir / DONE, result)


def read_done(workdir: pathlib.Path) -> dict[str, Any] | None:
  """The marker of a finished run, or None."""
  path = workdir / DONE
  return json.loads(path.read_text()) if path.exists() else None
