"""The learning rate of each step."""

import math

from train.optimizer_config import OptimizerConfig, ScheduleConfig


def learning_rate(
  optimizer: OptimizerConfig,
  schedule: ScheduleConfig,
  step: int,
  num_steps: int,
) -> float:
  """The learning rate of a step, the first being 0.

  peak * warm * (r + (1 - r) * shape), where r is `final_ratio`. Over the first
  W = `warmup_steps` steps warm = (step + 1) / (W + 1) rises to 1. With
  t = (step - W) / (num_steps - W), the share of the rest that is done, shape is
  1 during warm-up and then

  - `cosine`: (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983,
    equation 5, without restarts);
  - `linear`: 1 - t;
  - `inverse_sqrt`: sqrt((W + 1) / (step + 1)) (Vaswani et al. 2017,
    arXiv:1706.03762, section 5.3);
  - `constant`: 1;
  - `wsd`, warm up, stay, decay (Hu et al. 2024, arXiv:2404.06395): 1, and over
    the last D = `decay_steps` steps, of which the share d = 1 - (num_steps -
    step) / (D + 1) is done, 1 - d where `decay` is `linear`, or 1 - sqrt(d)
    where it is `sqrt` (Hägele et al. 2024, arXiv:2405.18392, section 3).

  The step after the last would be the first at `final_ratio` times the peak;
  `inverse_sqrt` only nears it. A run of another length has the same rates in a
  `wsd` schedule until one of the two decays: see `checkpoint.branch_from`.

  Computed on the host and handed to the step, so that runs which differ only
  in their schedule share one compiled program.
  """
  warm = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
  ratio = schedule.final_ratio
  shape = _shape(schedule, step, num_steps)
  return optimizer.learning_rate * warm * (ratio + (1 - ratio) * shape)


def _shape(schedule: ScheduleConfig, step: int, num_steps: int) -> float:
  """Falls from 1 towards 0."""
  warmup = schedule.warmup_steps
  if schedule.kind == 'constant':
    return 1.0
  if schedule.kind == 'wsd':
    left = min(1.0, (num_steps - step) / (schedule.decay_steps + 1))
    return left if schedule.decay == 'linear' else 1 - math.sqrt(1 - left)
  if schedule.kind == 'inverse_sqrt':
    return math.sqrt((warmup + 1) / (max(step, warmup) + 1))
  span = max(1, num_steps - warmup)
  done = min(1.0, max(0.0, (step - warmup) / span))
  if schedule.kind == 'cosine':
    return (1 + math.cos(math.pi * done)) / 2
  return 1 - done
