import json
import subprocess
import sys

import numpy as np
import pytest

from configs.errors import UserError
from scaling.compare import Standing, compare, find_winner, table
from scaling.conformal import widen, widening
from scaling.ensemble import forecast_all, pool
from scaling.fit import fit_law
from scaling.forecast import forecast
from scaling.rolling import Held, Rolled, roll

LAWS = ('chinchilla', 'over_training')


def grid_of(as_points, params_P, law, noise=0.003, seed=0):
  """Six sizes by four lengths."""
  n = np.repeat(np.geomspace(2e5, 2e7, 6), 4)
  d = np.tile([2e6, 6e6, 2e7, 6e7], 6)
  rng = np.random.default_rng(seed)
  value = law(params_P, n, d) * np.exp(noise * rng.standard_normal(24))
  return as_points(n, d, value)


@pytest.fixture(scope='module')
def points(as_points, law):
  """Exponents so far apart that a shared one cannot do."""
  return grid_of(as_points, [1.5, 4.5e3, 30.0, 0.7, 0.2], law)


@pytest.fixture(scope='module')
def found(points):
  return compare(points, LAWS, cutoffs=3, resamples=100)


def test_held_out_rungs_are_larger_than_all_that_was_fitted(points):
  rolled = roll(points, LAWS, cutoffs=3, resamples=20)
  assert len(rolled.cutoffs) == 3
  assert all(held.flops > held.cutoff for held in rolled.held)
  by_law = {
    law: [(h.cutoff, h.rung, h.truth) for h in rolled.held if h.law == law]
    for law in LAWS
  }
  assert by_law['chinchilla'] == by_law['over_training']
  first = rolled.held[0]
  below = points.take(np.flatnonzero(points['flops'] <= first.cutoff))
  assert len(below) >= 10
  fit = fit_law(below, 'chinchilla', resamples=20)
  row = np.argsort(points['flops'], kind='stable')[first.rung]
  at = {name: points[name][row] for name in ('params', 'tokens')}
  assert forecast(fit, at).value == pytest.approx(first.forecast)


def test_the_true_form_wins_where_the_other_is_wrong(found):
  assert found.winner == 'chinchilla'
  assert 'wins' in found.reason
  right, wrong = (found.standings[name] for name in LAWS)
  assert right.mean_error < wrong.mean_error
  assert right.log_score > wrong.log_score
  lines = table(found).splitlines()
  assert lines[1].startswith('chinchilla')
  json.dumps(found.to_tree(), allow_nan=False)


def test_a_winner_is_ahead_at_nearly_every_rung():
  """Errors of two laws at ten rungs: ahead at nine, and ahead at five."""
  for count, ahead, winner in ((10, 9, 'one'), (10, 5, None), (5, 5, None)):
    rows = []
    for rung in range(count):
      better = rung < ahead
      rows.append(held(rung, 0.01 if better else 0.03, law='one'))
      rows.append(held(rung, 0.03 if better else 0.0101, law='two'))
    standings = {name: None for name in ('one', 'two')}
    for name in standings:
      own = [abs(row.relative_error) for row in rows if row.law == name]
      standings[name] = Standing(0, np.mean(own), 0, 0, 0, 0, 10)
    rolled = Rolled(tuple(rows), (1.0,), 0.9)
    found, reason = find_winner(rolled, standings, 0)
    assert found == winner
    assert ('no winner' in reason) == (winner is None)
    assert ('5 rungs were held out' in reason) == (count == 5)


def test_mistakes_are_named(points):
  with pytest.raises(UserError, match='at least two to compare'):
    compare(points, ['chinchilla', 'chinchilla'])
  with pytest.raises(UserError, match='laws of loss and of score'):
    compare(points, ['chinchilla', 'sigmoid'])
  with pytest.raises(UserError, match='10 runs: to hold any out, 11 rungs'):
    compare(points.take(range(10)), LAWS)
  assert roll(points.take(range(10)), LAWS).held == ()


def held(rung, error, half_width=0.1, cutoff=1.0, law='x'):
  miss = abs(error) / half_width
  return Held(
    law, cutoff, rung, 2.0, 1.0, 1 + error, error, True, half_width, 0, miss
  )


def test_widening_by_hand():
  # Misses of .1, .2, ... .9 half-widths: the ninth of nine at 90%.
  few = [held(rung, 0.01 * (rung + 1)) for rung in range(9)]
  assert widening(few[:8], 0.9) is None
  assert widening(few, 0.9) == 1.0
  wide = [held(rung, 0.05 * (rung + 1)) for rung in range(9)]
  assert widening(wide, 0.9) == pytest.approx(4.5)
  assert widening(wide, 0.5) == pytest.approx(2.5)
  # Each rung counts once, as seen from the nearest cut-off.
  earlier = [held(rung, 9.0, cutoff=0.5) for rung in range(9)]
  assert widening([*earlier, *wide], 0.9) == pytest.approx(4.5)


def test_a_widened_forecast_says_so(points):
  told = forecast(fit_law(points, resamples=50), {'params': 1e8, 'tokens': 1e8})
  wide = widen(told, 2.0)
  assert wide.upper - wide.value == pytest.approx(2 * (told.upper - told.value))
  assert wide.value == told.value
  assert any('2 times as wide' in text for text in wide.warnings)
  np.testing.assert_allclose(
    wide.samples - told.value, 2 * (told.samples - told.value)
  )
  assert widen(told, 1.0) is told


def test_a_pool_is_as_wide_as_its_laws_disagree(points):
  at = {'params': 1e9, 'tokens': 1e9}
  told = [forecast(fit_law(points, law, resamples=200), at) for law in LAWS]
  both = pool(told)
  assert both.lower == pytest.approx(min(t.lower for t in told), rel=0.05)
  assert both.upper == pytest.approx(max(t.upper for t in told), rel=0.05)
  assert both.value == pytest.approx(np.sqrt(told[0].value * told[1].value))
  alone = pool(told[:1])
  assert (alone.lower, alone.upper) == (told[0].lower, told[0].upper)
  with pytest.raises(UserError, match='no forecast to pool'):
    pool([])


def test_all_laws_at_once_are_as_wide_as_they_have_to_be(points):
  """The wrong law missed rungs that were held out: its interval is widened."""
  at = {'params': 1e9, 'tokens': 1e9}
  options = {'laws': LAWS, 'resamples': 100}
  told = forecast_all(points, at, **options)
  alone = [forecast(fit_law(points, law, resamples=100), at) for law in LAWS]
  assert any('times as wide as the law says' in text for text in told.warnings)
  assert told.upper - told.lower > 1.05 * (
    max(t.upper for t in alone) - min(t.lower for t in alone)
  )


def test_command_prints_a_table_and_writes_json(tmp_path, points):
  runs, out = tmp_path / 'runs.csv', tmp_path / 'out.json'
  rows = zip(points['params'], points['tokens'], points.value, strict=True)
  runs.write_text('N,D,L\n' + ''.join(f'{n},{d},{v}\n' for n, d, v in rows))
  ended = subprocess.run(
    [
      sys.executable,
      '-m',
      'scaling.compare',
      f'--records={runs}',
      '--columns=params=N,tokens=D,loss=L',
      f'--laws={",".join(LAWS)}',
      '--cutoffs=1',
      '--at=params=1e8,tokens=1e9',
      f'--out={out}',
      f'--plots={tmp_path}',
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert ended.returncode == 0, ended.stderr
  assert 'median' in ended.stdout
  tree = json.loads(out.read_text())
  assert set(tree['laws']) == set(LAWS)
  assert tree['cutoffs'] and tree['held_out']
  assert tree['forecast']['lower'] < tree['forecast']['upper']
  assert 'all of them at params=1e8' in ended.stdout
  assert (tmp_path / 'errors.png').read_bytes().startswith(b'\x89PNG')
