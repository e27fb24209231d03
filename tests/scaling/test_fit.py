import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from configs.errors import UserError
from scaling.fit import fit_law, summary
from scaling.fitted import fit_from_json

OPTIONS = {'delta': math.inf, 'resamples': 100}


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.003, np.random.default_rng(0))


@pytest.fixture(scope='module')
def fit(points):
  return fit_law(points, **OPTIONS)


def test_a_fit_tells_what_it_is(fit):
  assert list(fit.params) == ['E', 'A', 'B', 'alpha', 'beta']
  assert fit.n == 14
  assert fit.domain['params'] == (25e3, 790e3)
  assert fit.conventions['params'] == 'non_embedding'
  assert fit.conventions['bootstrap'] == 'noise'
  assert fit.conventions['seed_noise'] == 'not measured'
  for name, (low, high) in fit.intervals.items():
    assert low < fit.params[name] < high
  assert 'alpha' in summary(fit)


def test_json_has_the_keys_others_read(fit):
  assert set(json.loads(fit.to_json())) >= {
    'law',
    'params',
    'intervals',
    'objective',
    'n',
    'conventions',
    'warnings',
  }


@pytest.mark.parametrize('text', ['', '{}', '[1]', '{"samples": 1}'])
def test_other_json_is_refused(text):
  with pytest.raises(UserError, match='no fit'):
    fit_from_json(text)


def test_seeds_of_a_rung_are_one_point(points, as_points):
  rows = [*range(14), 4, 4]
  shifted = points.value[rows] * np.exp([*[0.0] * 14, 0.03, -0.03])
  with_seeds = as_points(
    points['params'][rows],
    points['tokens'][rows],
    shifted,
    seed=[*[0] * 14, 1, 2],
  )
  fit = fit_law(with_seeds, **OPTIONS)
  plain = fit_law(points, **OPTIONS)
  assert fit.n == 14
  assert fit.params['alpha'] == pytest.approx(plain.params['alpha'], rel=0.05)
  # Log losses 0, .03 and -.03 about their mean: variance .0018 / 2.
  assert fit.conventions['seed_noise'].startswith('0.03 between seeds, 2')
  assert np.median(fit.noise) > 5 * np.median(plain.noise)


def test_few_points_get_no_interval(points):
  fit = fit_law(points.take(range(9)), **OPTIONS)
  assert fit.intervals == {}
  assert fit.samples.shape == (0, 5)
  assert fit.warnings[0].startswith('9 points for 5 parameters: no interval')
  assert fit_from_json(fit.to_json()).samples.shape == (0, 5)


@pytest.mark.parametrize(
  'rows, options, message',
  [
    (14, {'law': 'moore'}, "law = 'moore': choose from "),
    (14, {'level': 90.0}, 'level = 90.0'),
    (14, {'resampling': 'jackknife'}, 'choose from auto, noise, pairs'),
    (14, {'interval': 'wald'}, 'choose from percentile, bca'),
    (14, {'space': 'square'}, 'choose from log, linear'),
    (14, {'fixed': {'gamma': 1}}, 'fixed = gamma: chinchilla has E, A'),
    (14, {'fixed': {'alpha': 9}}, 'fixed alpha = 9: expected 0.01 to 3'),
    (4, {}, '4 points for the 5 parameters of chinchilla: add runs'),
  ],
)
def test_mistakes_are_named(points, rows, options, message):
  with pytest.raises(UserError, match=message):
    fit_law(points.take(range(rows)), **OPTIONS | options)


@pytest.mark.parametrize(
  'n, value, message',
  [
    ([5e4] * 12, [3.0] * 12, 'params is the same in all runs'),
    (range(1, 13), [3.0] * 11 + [math.nan], 'value: a law needs finite'),
  ],
)
def test_points_that_tell_nothing_are_named(as_points, n, value, message):
  points = as_points(n, np.arange(1, 13), value)
  with pytest.raises(UserError, match=message):
    fit_law(points, **OPTIONS)


def _command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'scaling.fit', *arguments],
    capture_output=True,
    text=True,
    check=False,
  )


def test_command_writes_a_fit(tmp_path, points):
  runs, out = tmp_path / 'runs.csv', tmp_path / 'fit.json'
  rows = zip(points['params'], points['tokens'], points.value, strict=True)
  runs.write_text(
    'params,tokens,loss\n' + ''.join(f'{n},{d},{v}\n' for n, d, v in rows)
  )
  ended = _command(
    f'--records={runs}',
    '--law=kaplan_tokens_offset',
    f'--out={out}',
    f'--plots={tmp_path}',
  )
  assert ended.returncode == 0, ended.stderr
  assert 'kaplan_tokens_offset fitted to 14 points' in ended.stdout
  fit = fit_from_json(out.read_text())
  again = fit_law(points, 'kaplan_tokens_offset')
  assert fit.params == pytest.approx(again.params, rel=1e-4)
  assert fit.conventions['params'] == 'as given'
  drawn = {path.name for path in tmp_path.glob('*.png')}
  assert {'curve.png', 'residuals.png', 'profile_E.png'} <= drawn


def test_command_names_a_mistake_in_one_line(tmp_path):
  out = tmp_path / 'fit.json'
  ended = _command(f'--records={tmp_path / "none.csv"}', f'--out={out}')
  assert ended.returncode == 2
  assert ended.stderr.count('\n') == 1
  assert 'no such file' in ended.stderr
  assert not out.exists()


def test_help_tells_of_every_flag():
  told = _command('--help').stdout
  for flag in ('--records:', '--columns:', '--params:', '--law:', '--plots:'):
    assert flag in told


def test_command_names_a_folder_in_place_of_its_file(tmp_path, points):
  runs, out = tmp_path / 'runs.csv', tmp_path / 'fit.json'
  out.mkdir()
  rows = zip(points['params'], points.value, strict=True)
  runs.write_text('params,loss\n' + ''.join(f'{n},{v}\n' for n, v in rows))
  ended = _command(f'--records={runs}', '--law=kaplan_params', f'--out={out}')
  assert ended.returncode == 2
  assert ended.stderr == f'error: {out}: Is a directory\n'
  assert sorted(tmp_path.iterdir()) == [out, runs]


def test_command_finds_frontiers_and_selects_breaks(tmp_path, law, truth):
  runs, out = tmp_path / 'runs.csv', tmp_path / 'fit.json'
  rows = ['C,N,L']
  for flops in np.geomspace(1e17, 1e19, 4):
    for n in np.sqrt(flops / 120) * np.geomspace(0.3, 3, 7):
      rows.append(f'{flops},{n},{law(truth, n, flops / 6 / n)}')
  runs.write_text('\n'.join(rows))
  shared = (f'--records={runs}', f'--out={out}', f'--plots={tmp_path}')
  ended = _command(
    *shared, '--law=isoflop', '--columns=flops=C,params=N,loss=L'
  )
  assert ended.returncode == 0, ended.stderr
  exponents = fit_from_json(out.read_text()).params
  # N* goes as C^(beta / (alpha + beta)), a parabola's bias aside.
  assert exponents['a'] == pytest.approx(0.42 / 0.82, abs=0.02)
  assert (tmp_path / 'params.png').exists()
  ended = _command(*shared, '--law=broken', '--columns=tokens=C,loss=L')
  assert ended.returncode == 0, ended.stderr
  assert fit_from_json(out.read_text()).law == 'broken_0'


def test_influence_is_reported_of_every_run(points, fit):
  assert len(fit.influence) == 14
  assert set(fit.influence[0]['params']) == set(fit.params)
  assert fit.influence[0]['run'] == 'N = 2.5e+04 at 8e+05 tokens'
  most = max(fit.influence, key=lambda row: row['fall'])
  assert f'without {most["run"]} the objective is' in summary(fit)


def test_the_docs_five_lines_fit_a_pandas_frame(tmp_path, monkeypatch, points):
  path = pathlib.Path(__file__).parents[2] / 'docs/laws.md'
  (block,) = re.findall(r'```python\n(.*?)```', path.read_text(), re.DOTALL)
  rows = zip(points['params'], points['tokens'], points.value, strict=True)
  (tmp_path / 'runs.csv').write_text(
    'N,D,loss\n' + ''.join(f'{n},{d},{v}\n' for n, d, v in rows)
  )
  monkeypatch.chdir(tmp_path)
  found = {}
  exec(block, found)
  assert found['fit'].n == 14
