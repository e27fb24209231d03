"""Spikes of the loss: how they are told, and how far to go back from one.

PaLM went on from a checkpoint some 100 steps before a spike and passed over 200
to 500 batches, those around the spike among them, after which the loss did not
spike there again (Chowdhery et al. 2022, arXiv:2204.02311, section 5.1). OLMo's
trainer leaves out the update of a step whose loss or gradient norm is more than
6 standard deviations above the mean of the last 128 steps. Here the limit is a
median and a median deviation, which the spikes themselves do not lift.
"""

import dataclasses
from typing import Any

import numpy as np

from configs.errors import UserError, choose

ACTIONS = ('none', 'skip', 'rewind')

# The standard deviation of a normal distribution over its median deviation.
_DEVIATIONS = 1.4826
# Of steps between the last that a limit knows of and the one that it is for, so
# that no step waits for the one before it.
_LAG = 2


@dataclasses.dataclass(frozen=True)
class SpikeConfig:
  """Its keys are told in configs/pretrain.py."""

  action: str = 'none'
  window_steps: int = 128
  threshold: float = 6.0
  margin_steps: int = 100
  max_rewinds: int = 20

  def validate(self) -> None:
    """Raises UserError for a value out of range."""
    choose('train.spike.action', self.action, ACTIONS)
    if self.window_steps < 4:
      raise UserError(
        f'train.spike.window_steps = {self.window_steps}: at least 4'
      )
    if not self.threshold > 0:
      raise UserError(f'train.spike.threshold = {self.threshold}: above 0')
    for key in ('margin_steps', 'max_rewinds'):
      if getattr(self, key) < 0:
        raise UserError(f'train.spike.{key} = {getattr(self, key)}: at least 0')


class SpikeDetector:
  """Limits of the loss and of the norm of the gradient, from the steps before.

  A step is a spike when one of the two is not finite, or above its limit:
  median + threshold * 1.4826 * median(|x - median|) over the `window_steps`
  finite steps up to the second last, spikes included, so that a change that
  lasts is no spike for long. Half a window is awaited first.

  Limits and state are functions of what was observed, whenever that was.
  """

  def __init__(self, config: SpikeConfig):
    self._config = config
    self._seen: list[tuple[int, float, float]] = []
    self._in_a_row = 0
    self._rewinds = 0

  def limits(self, step: int) -> np.ndarray:
    """Of the loss and the gradient norm of a step, float32 [2].

    Infinite while there are too few steps to judge by.
    """
    window = self._config.window_steps
    known = [row[1:] for row in self._seen if row[0] <= step - _LAG][-window:]
    if len(known) < window // 2:
      return np.full(2, np.inf, np.float32)
    known_Wx2 = np.array(known)
    median_2 = np.median(known_Wx2, axis=0)
    spread_2 = _DEVIATIONS * np.median(np.abs(known_Wx2 - median_2), axis=0)
    limits_2 = median_2 + self._config.threshold * spread_2
    return limits_2.astype(np.float32)

  def observe(self, step: int, loss: float, grad_norm: float) -> bool:
    """Takes note of a step, in their order; whether it is a spike.

    Raises:
      UserError: a whole window of steps were spikes.
    """
    found_2 = np.array([loss, grad_norm], np.float32)
    finite = bool(np.isfinite(found_2).all())
    spike = not finite or bool((found_2 > self.limits(step)).any())
    self._in_a_row = self._in_a_row + 1 if spike else 0
    if self._in_a_row >= self._config.window_steps:
      raise UserError(
        f'training diverged: all of the {self._in_a_row} steps up to {step} '
        f'are spikes (loss {loss}, grad_norm {grad_norm}); lower '
        'optimizer.learning_rate or lengthen schedule.warmup_steps'
      )
    if finite:
      self._seen.append((step, float(loss), float(grad_norm)))
      self._seen = self._seen[-(self._config.window_steps + _LAG - 1) :]
    return spike

  def up_to(self, spike_step: int) -> int:
    """The last step whose checkpoint is early enough to go on from."""
    return spike_step - max(1, self._config.margin_steps)

  def rewind(self, spike_step: int, state: dict[str, Any]) -> None:
    """Goes back to a checkpoint.

    Args:
      spike_step: of the spike.
      state: that `state` gave at the checkpoint; {} for the initial one.

    Raises:
      UserError: it has gone back as often as it may.
    """
    rewinds = self._rewinds + 1
    if rewinds > self._config.max_rewinds:
      raise UserError(
        f'training spikes again at step {spike_step} after {self._rewinds} '
        f'rewinds (train.spike.max_rewinds = {self._config.max_rewinds}); '
        'lower optimizer.learning_rate or lengthen schedule.warmup_steps'
      )
    self.restore(state)
    self._rewinds = rewinds

  def state(self) -> dict[str, Any]:
    """All that is kept between steps, JSON-able."""
    return {
      'seen': [list(row) for row in self._seen],
      'in_a_row': self._in_a_row,
      'rewinds': self._rewinds,
    }

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from where `state` was called; {} is the beginning."""
    seen = state.get('seen', [])
    self._seen = [(int(row[0]), float(row[1]), float(row[2])) for row in seen]
    self._in_a_row = state.get('in_a_row', 0)
    self._rewinds = state.get('rewinds', 0)
