"""AdamW and its learning-rate schedule."""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax

from model.parametrization import is_decayed
from train.optimizer_config import OptimizerConfig, ScheduleConfig


def learning_rate(
  optimizer: OptimizerConfig,
  schedule: ScheduleConfig,
  step: int,
  num_steps: int,
) -> float:
  """The learning rate of a step, the first being 0.

  Linear warm-up to the peak, then either `cosine` decay to the end (Loshchilov
  and Hutter 2017) or `wsd`: the peak, and a linear decay over the last
  `decay_steps` (Hu et al. 2024, arXiv:2404.06395). The step after the last
  would be the first at `final_ratio` times the peak.

  Computed on the host and handed to the step, so that runs which differ only
  in their schedule share one compiled program.
  """
  warm = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
  if schedule.kind == 'cosine':
    span = max(1, num_steps - schedule.warmup_steps)
    done = min(1.0, max(0.0, (step - schedule.warmup_steps) / span))
    shape = (1 + math.cos(math.pi * done)) / 2
  else:
    left = num_steps - step
    shape = min(1.0, left / (schedule.decay_steps + 1))
  ratio = schedule.final_ratio
  return optimizer.learning_rate * warm * (ratio + (1 - ratio) * shape)


def make_optimizer(
  config: OptimizerConfig, rates: Callable[[Any], Any]
) -> optax.GradientTransformation:
  """AdamW without the learning rate, which multiplies its updates outside.

  Args:
    config: its numbers.
    rates: from parameters to a multiplier of each one's learning rate; weight
      decay goes at the common rate.
  """

  def multiply(updates: Any, params: Any) -> Any:
    return jax.tree.map(lambda u, rate: u * rate, updates, rates(params))

  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.scale_by_adam(config.b1, config.b2, config.eps),
    optax.stateless(multiply),
    optax.add_decayed_weights(config.weight_decay, mask=is_decayed),
  )
