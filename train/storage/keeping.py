"""Which checkpoints are kept: the last ones, and the best."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass
class KeepLast:
  """Keeps the newest checkpoint, and the `number` last that were due.

  What a run saves because it is asked to stop takes no other's place: one that
  goes back later finds those that an undisturbed run would.
  """

  number: int
  due: Callable[[int], bool]

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    del context
    steps = [one.step for one in checkpoints]
    last = set(sorted(filter(self.due, steps))[-self.number :])
    return [step in last or step == max(steps) for step in steps]


@dataclasses.dataclass
class KeepBest:
  """Keeps the `number` checkpoints of the lowest loss.

  Orbax has such a policy, but keeps losses in files whose damage it does not
  survive.
  """

  number: int
  losses: dict[int, float]  # by step; NaN where there is none

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    del context
    steps = [one.step for one in checkpoints]
    # Of equal losses, the later one.
    ranked = sorted(
      (self.losses[step], -step)
      for step in steps
      if np.isfinite(self.losses.get(step, np.nan))
    )
    best = {-step for _, step in ranked[: self.number]}
    return [step in best for step in steps]
