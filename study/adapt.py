"""Adapts rungs to a task: what pre-training scale is worth downstream."""

import pathlib
from collections.abc import Sequence

from configs import finetune as finetune_configs
from configs.tree import product, with_overrides
from finetune import run as finetune
from study.config import StudyConfig
from study.ladder import Rung
from study.measure import RUNS, StoppedError

FINETUNE = 'finetune'


def adapt(
  config: StudyConfig, rungs: Sequence[Rung], folder: pathlib.Path
) -> None:
  """Finetunes each size named in the config from its longest run.

  What is finished is not done again.

  Raises:
    StoppedError: it was interrupted.
  """
  axes = {'size': config.finetune.sizes, 'mode': config.finetune.modes}
  for cell in product(axes):
    size, mode = cell['size'], cell['mode']
    own = [r for r in rungs if (r.size, r.seed) == (size, config.seed)]
    longest = max(own, key=lambda rung: rung.tokens)
    result = finetune.run(
      with_overrides(
        finetune_configs.get_config(config.finetune.task),
        {'mode': mode, 'seed': config.seed},
      ),
      folder / RUNS / longest.name,
      folder / FINETUNE / f'{size}-{mode}',
    )
    if not result.finished:
      raise StoppedError
