"""Metric writers: one interface, however many places they go to."""

import contextlib
import json
import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from configs.errors import UserError
from configs.files import write_text
from train.config import LogConfig

METRICS = 'metrics.jsonl'
TIMING = 'timing.jsonl'


class MetricWriter(Protocol):
  """Takes scalars by name at a step, in the order of the steps."""

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Notes the values of a step."""

  def flush(self) -> None:
    """Returns when all that was written is safe."""

  def close(self) -> None:
    """Flushes, and lets go of what is open."""


class JsonlWriter:
  """One JSON object a line, `{"step": ..., name: value}`."""

  def __init__(self, path: pathlib.Path):
    self._file = path.open('a', encoding='utf-8')

  def write(self, step: int, values: Mapping[str, float]) -> None:
    self._file.write(json.dumps({'step': step, **values}) + '\n')

  def flush(self) -> None:
    self._file.flush()

  def close(self) -> None:
    self._file.close()


class TensorBoardWriter:
  """TensorBoard event files in `<workdir>/tensorboard`."""

  def __init__(self, workdir: pathlib.Path, first_step: int):
    from tensorboardX import SummaryWriter

    self._writer = SummaryWriter(
      str(workdir / 'tensorboard'), purge_step=first_step
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


class WandbWriter:
  """A Weights & Biases run that is named by, and resumes with, the workdir."""

  def __init__(self, workdir: pathlib.Path, project: str):
    try:
      import wandb
    except ImportError as error:
      raise UserError(
        'log.wandb_project needs the wandb extra: pip install -e .[wandb]'
      ) from error
    self._run = wandb.init(
      project=project, id=workdir.name, dir=str(workdir), resume='allow'
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    self._run.log(dict(values), step=step)

  def flush(self) -> None:
    """W&B sends in the background."""

  def close(self) -> None:
    self._run.finish()


class MultiWriter:
  """Writes to several writers at once, or to none."""

  def __init__(self, writers: Sequence[MetricWriter]):
    self._writers = writers

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for writer in self._writers:
      writer.write(step, values)

  def flush(self) -> None:
    for writer in self._writers:
      writer.flush()

  def close(self) -> None:
    for writer in self._writers:
      writer.close()


@contextlib.contextmanager
def open_writer(
  workdir: pathlib.Path, config: LogConfig, first_step: int
) -> Iterator[MetricWriter]:
  """A writer of a run that goes on after `first_step`.

  metrics.jsonl depends on the config and the seeds alone: the same run gives
  the same bytes, interrupted or not. What the clock says is in timing.jsonl.
  Of several processes one has a writer; `MultiWriter(())` is for the others.
  """
  writers: list[MetricWriter] = [JsonlWriter(workdir / METRICS)]
  if config.tensorboard:
    logging.getLogger('tensorboardX').setLevel(logging.WARNING)
    writers.append(TensorBoardWriter(workdir, first_step + 1))
  if config.wandb_project:
    writers.append(WandbWriter(workdir, config.wandb_project))
  writer = MultiWriter(writers)
  try:
    yield writer
  finally:
    writer.close()


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
  """The whole lines of a metrics file; a last one cut short is left out."""
  if not path.exists():
    return []
  lines = path.read_text(encoding='utf-8').split('\n')
  return [json.loads(line) for line in lines[:-1]]


def keep_until(source: pathlib.Path, step: int, target: pathlib.Path) -> None:
  """Writes to `target` the lines of `source` up to and with a step."""
  kept = [line for line in read_metrics(source) if line['step'] <= step]
  write_text(target, ''.join(json.dumps(line) + '\n' for line in kept))
