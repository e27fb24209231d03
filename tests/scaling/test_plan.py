"""Plans as data, as text and as a command."""

import dataclasses
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from configs.chips import CHIPS
from configs.errors import UserError
from scaling.budget import to_budget
from scaling.fit import fit_law
from scaling.laws import LAWS
from scaling.laws.chinchilla import Chinchilla
from scaling.plan import plan, summary

BUDGET = to_budget(flops=1e15)
OPTIONS: dict[str, Any] = {'delta': math.inf, 'resamples': 200}


@pytest.fixture(scope='module')
def fit(truth, ladder):
  return fit_law(ladder(truth, 0.002, np.random.default_rng(3)), **OPTIONS)


@pytest.fixture(scope='module')
def task_fit(as_scores):
  loss = np.linspace(2.6, 4.2, 12)
  score = 0.5 / (1 + np.exp(4 * (loss - 3))) + 0.25
  rng = np.random.default_rng(0)
  score = score + 0.01 * rng.standard_normal(12)
  return fit_law(
    as_scores(loss, score), 'sigmoid', fixed={'b': 0.25}, **OPTIONS
  )


@pytest.fixture(scope='module')
def whole(fit, task_fit):
  budget = to_budget(flops=1e15, chip='tpu-v5e', chips=4)
  return plan(
    fit, budget, task_fit=task_fit, unique_tokens=1e7, inference_tokens=1e9
  )


def test_a_plan_is_json_with_the_keys_others_read(whole):
  assert json.loads(json.dumps(whole, allow_nan=False)) == whole
  assert set(whole) == {
    *('law', 'level', 'budget', 'optimum', 'intervals', 'options', 'memory'),
    *('cost', 'next_runs', 'assumptions', 'warnings'),
  }
  assert set(whole['optimum']) == {'params', 'tokens', 'loss', 'score'}
  assert set(whole['options']) == {
    *('same_budget', 'same_loss', 'least_total', 'unique_tokens'),
  }
  assert list(whole['cost']) == ['tpu-v5e']


def test_the_optimum_is_the_law_s(whole, fit):
  E, A, B, alpha, beta = fit.params_P
  scale = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  n = scale * (1e15 / 6) ** (beta / (alpha + beta))
  d = 1e15 / 6 / n
  best = whole['optimum']
  assert best['params'] == pytest.approx(n, rel=1e-6)
  assert best['tokens'] == pytest.approx(d, rel=1e-6)
  assert best['loss'] == pytest.approx(E + A / n**alpha + B / d**beta)


def test_intervals_are_of_draws_one_by_one(whole, fit):
  _, A, B, alpha, beta = fit.samples.T
  n_R = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  n_R = n_R * (1e15 / 6) ** (beta / (alpha + beta))
  ends = whole['intervals']
  assert ends['params'] == pytest.approx(
    np.quantile(n_R, [0.05, 0.95]), rel=1e-6
  )
  assert ends['tokens'] == pytest.approx(
    np.quantile(1e15 / 6 / n_R, [0.05, 0.95]), rel=1e-6
  )
  quiet = dataclasses.replace(fit, noise=np.zeros_like(fit.noise))
  narrow = plan(quiet, BUDGET)['intervals']['loss']
  low, high = ends['loss']
  assert low < narrow[0] < whole['optimum']['loss'] < narrow[1] < high


def test_intervals_hold_the_truth_of_simulated_ladders(truth, ladder, law):
  """Nine in ten, of the loss that a run at the planned size then measures."""
  rng = np.random.default_rng(7)
  met = []
  for seed in range(30):
    points = ladder(truth, 0.002, rng)
    # One seed for all would give all the same luck.
    fit = fit_law(points, delta=math.inf, resamples=300, seed=seed)
    # No further than the ladder's own FLOPs: this is no test of the bootstrap.
    tree = plan(fit, to_budget(flops=1e13))
    value = law(truth, tree['optimum']['params'], tree['optimum']['tokens'])
    measured = value * np.exp(0.002 * rng.standard_normal())
    low, high = tree['intervals']['loss']
    met.append(low <= measured <= high)
  assert 23 <= sum(met) <= 30


def test_the_score_goes_through_both_fits(whole, task_fit):
  params, best = task_fit.params, whole['optimum']
  rise = 1 + np.exp(-params['k'] * (best['loss'] - params['x0']))
  assert best['score'] == pytest.approx(params['a'] / rise + params['b'])
  low, high = whole['intervals']['score']
  assert low < best['score'] < high
  # The slope there times the loss's own interval is part of it.
  ends = np.array(whole['intervals']['loss'])
  rises = 1 + np.exp(-params['k'] * (ends - params['x0']))
  assert high - low > 0.9 * abs(np.diff(params['a'] / rises)[0])


def test_warnings_tell_of_extrapolation_and_short_supply(whole, fit):
  text = '\n'.join(whole['warnings'])
  largest = fit.domain['flops'][1]
  assert f'{1e15 / largest:.3g}x the largest fitted flops' in text
  assert 'x the unique tokens there are' in text
  for warning in fit.warnings:
    assert warning in text
  inside = plan(fit, to_budget(flops=largest / 2))
  assert not any('flops' in said for said in inside['warnings'])


def test_too_few_chips_are_told(fit):
  budget = to_budget(hours=1e6, chip='l4', chips=1)
  told = plan(fit, budget)['warnings']
  assert any('1 x l4 do not hold the optimum' in said for said in told)


def test_assumptions_are_told(whole, fit):
  text = '\n'.join(whole['assumptions'])
  for said in ('MFU', '16 bytes', 'PUE', '481 g', 'R_D* = 15.39', 'tpu-v5e is'):
    assert said in text
  plain = '\n'.join(
    plan(fit, to_budget(flops=1e15, chip='h100'))['assumptions']
  )
  assert 'R_D*' not in plain
  assert 'estimate' not in plain


def test_fewer_points_give_a_plan_without_intervals(truth, ladder):
  fit = fit_law(ladder(truth).take(range(9)), **OPTIONS)
  tree = plan(fit, BUDGET)
  assert tree['intervals'] == {'params': None, 'tokens': None, 'loss': None}
  assert tree['next_runs'] == []
  assert any('no intervals' in said for said in tree['warnings'])
  assert list(tree['cost']) == list(CHIPS)
  assert summary(tree).startswith('1e+15 training FLOPs; law chinchilla')


class Repeating(Chinchilla):
  """A law of its own of unique tokens: nothing after the first epoch."""

  name = 'repeating'
  inputs = ('params', 'tokens', 'unique_tokens')  # type: ignore[assignment]

  def curve(self, theta_P, x):
    return super().curve(theta_P, x | {'tokens': x['unique_tokens']})


def test_a_law_of_repeated_data_is_taken_by_its_word(fit, monkeypatch):
  monkeypatch.setitem(LAWS, 'repeating', Repeating())
  own = dataclasses.replace(fit, law='repeating')
  tree = plan(own, BUDGET, unique_tokens=1e7)
  plain = plan(fit, BUDGET, unique_tokens=1e7)
  assert tree['optimum'] == plain['optimum']
  capped = tree['options']['unique_tokens']
  # An epoch more is worth nothing, and a larger model always something.
  assert capped['best']['epochs'] == pytest.approx(1, rel=2e-3)
  assert plain['options']['unique_tokens']['best']['epochs'] > 2
  assert not any('R_D*' in said for said in tree['assumptions'])
  assert any('R_D*' in said for said in plain['assumptions'])


@pytest.mark.parametrize(
  ('changes', 'options', 'told'),
  [
    ({'law': 'sigmoid'}, {}, 'sigmoid gives a score by loss: a plan needs'),
    ({'law': 'direct'}, {}, 'direct gives a score by params, tokens'),
    ({'law': 'moore'}, {}, "law = 'moore'"),
    ({}, {'region': 'mars'}, "region = 'mars'"),
    ({}, {'unique_tokens': 0.0}, 'unique_tokens = 0'),
    ({}, {'inference_tokens': -1.0}, 'inference_tokens = -1'),
    ({}, {'task_fit': 'itself'}, 'chinchilla is no law from a loss'),
    (
      {'params': dict(E=2.0, A=0.0, B=9.0, alpha=0.3, beta=0.3)},
      {},
      'no optim',
    ),
  ],
)
def test_mistakes_are_named(fit, changes, options, told):
  if options.get('task_fit') == 'itself':
    options = {'task_fit': fit}
  with pytest.raises(UserError, match=told):
    plan(dataclasses.replace(fit, **changes), BUDGET, **options)


def _command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'scaling.plan', *arguments],
    capture_output=True,
    text=True,
    check=False,
  )


def test_command_writes_a_plan(tmp_path, fit, task_fit, whole):
  files = [tmp_path / name for name in ('fit.json', 'task.json', 'plan.json')]
  files[0].write_text(fit.to_json())
  files[1].write_text(task_fit.to_json())
  ended = _command(
    f'--fit={files[0]}',
    f'--task_fit={files[1]}',
    f'--usd={whole["budget"]["usd"]!r}',
    '--chip=tpu-v5e',
    '--chips=4',
    '--unique_tokens=1e7',
    '--inference_tokens=1e9',
    f'--out={files[2]}',
  )
  assert ended.returncode == 0, ended.stderr
  written = json.loads(files[2].read_text())
  for name, size in whole['optimum'].items():
    assert written['optimum'][name] == pytest.approx(size, rel=1e-9)
  assert ended.stdout == summary(written) + '\n'
  assert '4 x tpu-v5e' in ended.stdout
  assert max(len(line) for line in ended.stdout.splitlines()) < 160


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    (['--fit=none.json', '--flops=1e21'], 'none.json: no such file'),
    (['--fit={bad}', '--flops=1e21'], 'bad.json: no fit'),
    (['--fit={bad}', '--flops=1e21', '--usd=5'], 'got flops and usd'),
  ],
)
def test_command_names_a_mistake_in_one_line(tmp_path, arguments, told):
  bad, out = tmp_path / 'bad.json', tmp_path / 'plan.json'
  bad.write_text('{}')
  ended = _command(*(a.format(bad=bad) for a in arguments), f'--out={out}')
  assert ended.returncode == 2
  assert ended.stderr.count('\n') == 1
  assert told in ended.stderr
  assert not out.exists()
