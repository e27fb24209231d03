"""Which runs a study has, and what each is told."""

import dataclasses
import pathlib

import pytest

from configs import study as studies
from configs.errors import UserError
from configs.tree import flatten, to_dataclass, with_overrides
from model.counts import count_parameters, training_flops_per_token
from study import ladder
from study.config import study_config
from train.config import RunConfig

RUNS = pathlib.Path('runs')


@pytest.fixture(scope='module')
def pocket():
  return study_config(studies.get_config('pocket'))


def _typed(config, rung):
  return to_dataclass(RunConfig, ladder.run_config(config, rung, RUNS))


def _flops(run):
  tokens = run.train.num_steps * run.tokens_per_step
  length = run.data.sequence_length
  return tokens * training_flops_per_token(run.model, length)


def test_every_size_meets_every_number_of_tokens_once(pocket):
  rungs = ladder.fitted_rungs(pocket)
  cells = [(rung.size, rung.tokens) for rung in rungs]
  assert len(set(cells)) == len(cells) == 5 * 3
  assert len({rung.name for rung in rungs}) == len(rungs)


def test_a_branch_starts_from_a_checkpoint_that_its_trunk_keeps(pocket):
  rungs = {rung.name: rung for rung in ladder.fitted_rungs(pocket)}
  branches = [rung for rung in rungs.values() if rung.trunk]
  assert len(branches) == 5 * 2
  for rung in branches:
    run, trunk = _typed(pocket, rung), _typed(pocket, rungs[rung.trunk])
    assert run.checkpoint.branch_from == str(RUNS / rung.trunk)
    assert run.decay_start in trunk.checkpoint.keep_steps
    assert run.decay_start < trunk.decay_start
    assert run.schedule.warmup_steps < run.decay_start


def test_a_trunk_comes_before_its_branches(pocket):
  seen = set()
  for rung in ladder.fitted_rungs(pocket):
    assert not rung.trunk or rung.trunk in seen
    seen.add(rung.name)


def test_repeats_differ_in_their_seeds_alone(pocket):
  first = next(
    rung
    for rung in ladder.fitted_rungs(pocket)
    if (rung.size, rung.tokens) == (pocket.noise.size, pocket.noise.tokens)
  )
  runs = [first, *ladder.noise_rungs(pocket)]
  assert [rung.seed for rung in runs] == [0, 1, 2]
  trees = [flatten(ladder.run_config(pocket, rung, RUNS)) for rung in runs]
  for tree in trees[1:]:
    different = {key for key in tree if tree[key] != trees[0][key]}
    assert different == {
      'name',
      'data.seed',
      'train.seed',
      'checkpoint.branch_from',
    }


def test_the_pocket_ladder_is_wide_and_its_forecast_reaches_far(pocket):
  runs = [_typed(pocket, rung) for rung in ladder.fitted_rungs(pocket)]
  params = [count_parameters(run.model).non_embedding for run in runs]
  assert max(params) >= 16 * min(params)
  held_out = _typed(pocket, ladder.heldout_rung(pocket))
  assert _flops(held_out) >= 4 * max(map(_flops, runs))


def test_the_heldout_run_carries_the_digest_of_its_forecast(pocket):
  rung = dataclasses.replace(ladder.heldout_rung(pocket), forecast='abc')
  assert ladder.run_config(pocket, rung, RUNS).name.endswith('forecast abc')


def test_overrides_reach_every_rung():
  config = study_config(
    with_overrides(
      studies.get_config(), {'pretrain.optimizer.weight_decay': 0.5}
    )
  )
  for rung in ladder.fitted_rungs(config):
    tree = ladder.run_config(config, rung, RUNS)
    assert tree.optimizer.weight_decay == 0.5


@pytest.mark.parametrize(
  ('overrides', 'told'),
  [
    ({'ladder.sizes': ('nest-3',)}, 'no size'),
    ({'ladder.tokens': (500, 100)}, 'from few to many'),
    ({'ladder.tokens': ()}, 'some, each once'),
    ({'ladder.decay_fraction': 1.0}, r'in \(0, 1\)'),
    ({'noise.size': 'nest-396k'}, 'one of ladder.sizes'),
    ({'noise.tokens': 3}, 'one of ladder.tokens'),
    ({'heldout.size': 'nest-12k', 'heldout.tokens': 600_000}, 'is a rung'),
    ({'finetune.sizes': ('nest-396k',)}, 'is not trained'),
    ({'law.params': 'all'}, 'choose from'),
    ({'law.level': 1.5}, r'in \(0, 1\)'),
  ],
)
def test_studies_that_cannot_be_are_refused(overrides, told):
  config = with_overrides(studies.get_config(), overrides)
  with pytest.raises(UserError, match=told):
    study_config(config)


def test_the_ladders_own_keys_are_not_shared():
  with pytest.raises(UserError, match='is no key'):
    with_overrides(studies.get_config(), {'pretrain.train.num_steps': 3})
