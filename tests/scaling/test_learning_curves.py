"""How many breaks: curves made here, and those of Alabdulmohsin et al. 2022.

arXiv:2209.06640: 5 curves of translation, 5 of language models, 10 of
BIG-bench, each with points to fit and points beyond them.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from scaling.estimate import Problem, estimate
from scaling.laws.broken import BROKEN
from scaling.objective import Objective
from scaling.points import Points
from scaling.select_breaks import select_breaks

DATA = (
  Path(__file__).parents[2].parent
  / 'shared/data/scaling/learning_curve_benchmark/benchmark.lang.csv'
)
needs_data = pytest.mark.skipif(
  not DATA.is_file(),
  reason='shared/data/scaling/learning_curve_benchmark is absent',
)
# RMSLE beyond the fitted points, by an independent implementation.
TRANSLATION = {
  '6 Enc, 6 Dec': (0.0561, 0.0007),
  '28 Enc, 6 Dec': (0.0636, 0.0171),
  '6 Enc, 28 Dec': (0.0661, 0.0193),
  'Dec-only': (0.0376, 0.0034),
  'TEnc-LSTM': (0.0174, 0.0120),
}


def as_curve(x, y):
  zero = np.zeros(len(x))
  return Points({'tokens': x}, y, zero, zero, ('',) * len(x), {})


def made(params, count, noise=0.003):
  x = np.geomspace(1e8, 1e11, count)
  breaks = (len(params) - 3) // 3
  y = BROKEN[breaks].predict(np.array(params), {'tokens': x})
  rng = np.random.default_rng(1)
  return as_curve(x, y * np.exp(noise * rng.standard_normal(count)))


def fitted(law, points):
  weight = np.ones(len(points))
  return estimate(
    Problem(law, points, Objective(law.delta), law.space, weight, {})
  )


def rmsle(law, before, after):
  forecast = law.predict(fitted(law, before).params, after.columns)
  return np.sqrt(np.mean(np.log(forecast / after.value) ** 2))


@pytest.mark.parametrize(
  'params',
  [
    [0.3, 300.0, 0.3],
    [0.3, 20.0, 0.1, 0.5, 1e9, 0.2],
    [0.3, 20.0, 0.1, 0.9, 5e8, 0.1, -0.8, 5e9, 0.1],
  ],
)
def test_breaks_are_counted(params):
  points = made(params, count=30)
  law = select_breaks(points)
  assert law.breaks == (len(params) - 3) // 3
  shuffled = points.take(np.random.default_rng(0).permutation(30))
  assert select_breaks(shuffled) is law


def test_a_late_break_is_not_missed():
  # Forecasts from before it could not tell.
  points = made([0.3, 20.0, 0.1, 0.5, 2e10, 0.2], count=30)
  assert select_breaks(points).breaks > 0


def test_no_break_with_too_few_points():
  params = [0.3, 20.0, 0.1, 0.5, 1e9, 0.2]
  assert select_breaks(made(params, count=8, noise=0.0)).breaks == 0
  assert select_breaks(made(params, count=9, noise=0.0)).breaks == 1


def test_numbers_above_zero_are_needed():
  x = np.geomspace(1e8, 1e10, 10)
  with pytest.raises(UserError, match='tokens and the value'):
    select_breaks(as_curve(x, np.zeros(10)))


@pytest.fixture(scope='module')
def curves():
  """Points to fit and points beyond, by curve; duplicates dropped."""
  rows = defaultdict(set)
  with DATA.open() as file:
    for row in csv.DictReader(file):
      key = (row['Domain'], row['Task'], row['Model'])
      rows[key].add(
        tuple(float(row[k]) for k in ('Training', 'Seen Examples', 'Loss'))
      )
  split = {}
  for key, points in rows.items():
    table = np.array(sorted(points, key=lambda point: point[1]))
    split[key] = tuple(
      as_curve(*table[table[:, 0] == part, 1:].T) for part in (1, 0)
    )
  return split


@needs_data
@pytest.mark.parametrize('model', TRANSLATION)
def test_translation_as_others_fitted_it(curves, model):
  before, after = curves['NMT', 'log_perplexity', model]
  none, one = TRANSLATION[model]
  assert rmsle(BROKEN[0], before, after) == pytest.approx(none, abs=6e-5)
  assert rmsle(BROKEN[1], before, after) == pytest.approx(one, abs=1e-3)


@needs_data
def test_selected_breaks_forecast_better_than_one_always_or_never(curves):
  assert len(curves) == 20
  rows = []
  for before, after in curves.values():
    laws = (*BROKEN[:2], select_breaks(before))
    rows.append([rmsle(law, before, after) for law in laws])
  never, always, selected = np.mean(rows, axis=0)
  assert selected < always < never
  assert selected < 0.0079
