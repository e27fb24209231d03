"""What goes with checkpoints that lie elsewhere than in their run's workdir.

With it a run goes on from an empty workdir, on another machine.
"""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from configs.errors import UserError
from train import workdir
from train.metrics import METRICS, TIMING
from train.storage.places import (
  CHECKPOINTS,
  checkpoints_of,
  is_cloud,
  put,
  steps_in,
)

_LOGS = (METRICS, TIMING)


def check(run: pathlib.Path, elsewhere: pathlib.Path) -> None:
  """Makes sure that a run's checkpoints are those of a folder.

  Args:
    run: the workdir, with its config.
    elsewhere: where its checkpoints are to lie; may be the workdir itself.

  Raises:
    UserError: another run has its checkpoints there, or this one has some
      somewhere else and none there.
  """
  config = run / workdir.CONFIG
  if not config.exists():
    return
  if elsewhere != run:
    workdir.check(elsewhere, json.loads(config.read_text()))
  before = checkpoints_of(run)
  now = elsewhere / CHECKPOINTS
  if before != now and steps_in(before) and not steps_in(now):
    raise UserError(
      f'checkpoint.folder: {now} has no checkpoints, and this run has some in '
      f'{before}; copy them there, or name the folder that has them'
    )


@contextlib.contextmanager
def claimed(elsewhere: pathlib.Path, tree: Mapping[str, Any]) -> Iterator[None]:
  """Makes a folder for checkpoints this config's, as `workdir.claimed` does.

  In Google Cloud Storage nothing is locked.

  Raises:
    UserError: it is another run's, or cannot be written.
  """
  if not is_cloud(elsewhere):
    with workdir.claimed(elsewhere, tree):
      yield
    return
  workdir.check(elsewhere, tree)
  if not (elsewhere / workdir.CONFIG).exists():
    put(elsewhere / workdir.CONFIG, json.dumps(tree).encode())
  yield


def send(run: pathlib.Path, elsewhere: pathlib.Path) -> None:
  """Copies a workdir's config and logs, from the process that writes them."""
  if jax.process_index() != 0:
    return
  for name in (workdir.CONFIG, *_LOGS):
    if (run / name).exists():
      put(elsewhere / name, (run / name).read_bytes())


def fetch(run: pathlib.Path, elsewhere: pathlib.Path) -> None:
  """Copies the logs back.

  They reach at least as far as the newest checkpoint there, as those of a
  workdir need not: it may be empty, or another machine went on meanwhile.
  """
  if jax.process_index() != 0:
    return
  for name in _LOGS:
    if (elsewhere / name).exists():
      put(run / name, (elsewhere / name).read_bytes())
