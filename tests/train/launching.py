"""Starts `train.pretrain` in several processes of this machine."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from configs.tree import flatten
from train import metrics
from train.processes import wire

ROOT = pathlib.Path(__file__).parents[2]
HEAD = [sys.executable, '-m', 'train.pretrain', '--config=configs/pretrain.py']


class Group:
  """The processes of one run.

  Attributes:
    folder: the run's workdir.
    started: the processes, by index.
  """

  def __init__(
    self, config, folder, count, devices=1, own=(), head=HEAD, logs=None
  ):
    """Starts them.

    Args:
      config: of the run.
      folder: its workdir.
      count: of processes.
      devices: of each of them.
      own: further flags of each process, by index.
      head: the command, without its flags.
      logs: where their output goes; None means beside the workdir.
    """
    self.folder = folder
    name = f'{folder.name}-{time.monotonic_ns()}'
    logs = logs or folder.parent
    self._logs = [logs / f'{name}-{index}.log' for index in range(count)]
    keys = [f'--config.{k}={v}' for k, v in flatten(config).items()]
    address = f'127.0.0.1:{wire.free_port()},{count}'
    environment = {
      **os.environ,
      'PYTHONPATH': str(ROOT),
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(devices),
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',  # compile fast
    }
    self.started = []
    for index, path in enumerate(self._logs):
      which = [f'--distributed={address},{index}'] if count > 1 else []
      more = own[index] if own else ()
      with path.open('w') as log:
        self.started.append(
          subprocess.Popen(
            [*head, f'--workdir={folder}', *which, *keys, *more],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
          )
        )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.started:
      process.kill()
      process.wait()

  def output(self, index):
    """What a process has said."""
    return self._logs[index].read_text(errors='replace')

  def wait_for_step(self, step, timeout=180):
    """Returns when timing tells of a step."""
    self.wait_until(lambda: steps_of(self.folder) >= step, timeout)

  def wait_until(self, done, timeout=180):
    """Returns when `done()`; fails when a process ends before, or never."""
    deadline = time.monotonic() + timeout
    while not done():
      ended = [p.poll() for p in self.started]
      if any(code is not None for code in ended):
        pytest.fail(f'ended early with {ended}: {self._last_words()}')
      if time.monotonic() > deadline:
        pytest.fail(f'not within {timeout} s: {self._last_words()}')
      time.sleep(0.01)

  def finish(self, timeout=180):
    """Waits for all to end; gives their exit codes."""
    deadline = time.monotonic() + timeout
    for index, process in enumerate(self.started):
      try:
        process.wait(max(deadline - time.monotonic(), 0.1))
      except subprocess.TimeoutExpired:
        pytest.fail(f'process {index} has not ended: {self._last_words()}')
    return [process.returncode for process in self.started]

  def _last_words(self):
    indices = range(len(self.started))
    return '\n'.join(f'{i}: {self.output(i)[-2000:]}' for i in indices)


def steps_of(folder):
  """The last step that timing tells of."""
  lines = metrics.read_metrics(folder / metrics.TIMING)
  return lines[-1]['step'] if lines else 0
