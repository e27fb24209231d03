"""Adapting a checkpoint to a task: `--config=configs/finetune.py:TASK`."""

from ml_collections import ConfigDict

from configs import pretrain
from configs.errors import UserError

TASKS = ('library',)


def get_config(task: str | None = None) -> ConfigDict:
  """The recipe for a task, locked.

  Raises:
    UserError: a task that is not in `TASKS`.
  """
  task = task or TASKS[0]
  if task not in TASKS:
    raise UserError(f'no task {task!r}; choose from {", ".join(TASKS)}')
  config = ConfigDict()
  config.task = task  # library: which one a docstring is from
  # full: all parameters, from the checkpoint's | scratch: all, from random ones
  # of the same shape | probe: a head on the checkpoint's features, as they are
  config.mode = 'full'
  config.seed = 0  # of random parameters and the order of examples

  # tokens of a text, the separator included; the rest is cut
  config.max_length = 64
  config.train_examples = 8000  # at most; 0 = all
  config.eval_examples = 0  # of validation and of test, at most; 0 = all
  config.batch_size = 32  # texts, over all devices

  # full and scratch: warm up, then decay to 0, both linear
  config.num_steps = 300
  config.warmup_steps = 30
  config.log_every_steps = 10
  config.eval_every_steps = 100  # accuracy on validation; 0 = at the end

  # probe, which takes no steps: half the penalty on a squared weight of its
  # whitened features
  config.probe_l2 = 1e-2

  # the sections of configs/pretrain.py; the first is of full and scratch
  base = pretrain.get_config()
  config.optimizer = base.optimizer
  config.optimizer.learning_rate = 5e-3  # at its peak
  config.mesh = base.mesh
  return config.lock()
