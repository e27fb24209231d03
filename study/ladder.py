"""The runs of a study: which there are, and the config of each."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from configs import pretrain
from configs.tree import product, to_dataclass, with_overrides
from data.config import DataConfig
from study.config import StudyConfig


@dataclasses.dataclass(frozen=True)
class Rung:
  """One run: a size trained on a number of tokens from a seed.

  Attributes:
    name: of its folder, unique in a study.
    size: of `configs.sizes`.
    tokens: asked for; whole steps of it are trained.
    seed: of its parameters and its data order.
    trunk: name of the run whose checkpoint it branches from, '' for none.
    branches: tokens of the runs that branch from this one.
    forecast: digest of the forecast that the run tests, '' for none.
  """

  name: str
  size: str
  tokens: int
  seed: int
  trunk: str = ''
  branches: tuple[int, ...] = ()
  forecast: str = ''


def fitted_rungs(config: StudyConfig) -> list[Rung]:
  """Every size at every number of tokens; trunks before their branches.

  Under a warmup-stable-decay schedule two runs of a size are the same up to
  the decay of the shorter one. So each size is trained once, for the most
  tokens, and each shorter run branches off where its own decay begins.
  """
  *shorter, longest = config.ladder.tokens
  cells = product({'size': config.ladder.sizes, 'tokens': (longest, *shorter)})
  return [
    Rung(
      name=_name(**cell, seed=config.seed),
      seed=config.seed,
      trunk=(
        ''
        if cell['tokens'] == longest
        else _name(cell['size'], longest, config.seed)
      ),
      branches=tuple(shorter) if cell['tokens'] == longest else (),
      **cell,
    )
    for cell in cells
  ]


def noise_rungs(config: StudyConfig) -> list[Rung]:
  """One rung of the ladder again, from other seeds."""
  noise = config.noise
  return [
    Rung(_name(noise.size, noise.tokens, seed), noise.size, noise.tokens, seed)
    for seed in range(config.seed + 1, config.seed + 1 + noise.repeats)
  ]


def heldout_rung(config: StudyConfig) -> Rung:
  """The run that is forecast."""
  held_out = config.heldout
  name = _name(held_out.size, held_out.tokens, config.seed)
  return Rung(name, held_out.size, held_out.tokens, config.seed)


def run_config(
  config: StudyConfig, rung: Rung, runs: pathlib.Path
) -> ConfigDict:
  """The pre-training config of a rung.

  Args:
    config: of the study.
    rung: one of its runs.
    runs: the folder that holds the workdir of every run.
  """
  base = _base(config, rung.size)
  per_step = base.data.batch_size * base.data.sequence_length
  steps = _steps(rung.tokens, per_step)
  return with_overrides(
    base,
    {
      'name': _title(rung),
      'data.seed': rung.seed,
      'train.seed': rung.seed,
      'train.num_steps': steps,
      'train.eval_every_steps': 0,
      'schedule.kind': 'wsd',
      'schedule.warmup_steps': _steps(config.ladder.warmup_tokens, per_step),
      'schedule.decay_steps': _decay_steps(config, steps),
      'checkpoint.every_steps': max(1, steps // 2),
      'checkpoint.keep_last': 1,
      'checkpoint.keep_steps': tuple(
        branch - _decay_steps(config, branch)
        for branch in (_steps(tokens, per_step) for tokens in rung.branches)
      ),
      'checkpoint.branch_from': str(runs / rung.trunk) if rung.trunk else '',
    },
  )


def _name(size: str, tokens: int, seed: int) -> str:
  return f'{size}-{tokens / 1e6:g}M-seed{seed}'


def data_config(config: StudyConfig) -> DataConfig:
  """What all rungs read; their seeds set its order."""
  return to_dataclass(DataConfig, _base(config, config.heldout.size).data)


def _base(config: StudyConfig, size: str) -> ConfigDict:
  return with_overrides(pretrain.get_config(size), config.pretrain)


def _title(rung: Rung) -> str:
  return (
    f'{rung.name} of forecast {rung.forecast}' if rung.forecast else rung.name
  )


def _steps(tokens: int, per_step: int) -> int:
  return max(1, round(tokens / per_step))


def _decay_steps(config: StudyConfig, steps: int) -> int:
  return max(1, round(config.ladder.decay_fraction * steps))
