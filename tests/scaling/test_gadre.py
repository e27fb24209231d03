"""Published errors of Gadre et al. 2024, arXiv:2403.08540, table 2."""

import csv
from pathlib import Path

import numpy as np
import pytest

from scaling.fit import fit_law
from scaling.forecast import forecast, score_forecast

DATA = (
  Path(__file__).parents[2].parent
  / 'shared/data/scaling/gadre_overtraining/models_104.csv'
)
pytestmark = pytest.mark.skipif(
  not DATA.is_file(), reason='shared/data/scaling/gadre_overtraining is absent'
)
SMALL = (10569312, 78914048, 153677376, 411616256)
MEDIUM, LARGE = 1439795200, 6889410560


@pytest.fixture(scope='module')
def models():
  """(loss on C4, error of 17 tasks) by (parameters, multiplier)."""
  with DATA.open() as file:
    rows = [row for row in csv.DictReader(file) if row['dataset'] == 'rpj']
  return {
    (int(row['N']), float(row['tok_mult'])): (
      float(row['loss_c4_val']),
      float(row['err17']),
    )
    for row in rows
  }


@pytest.fixture(scope='module')
def fits(models):
  cells = [*((n, 20.0) for n in SMALL), (SMALL[0], 320.0)]
  loss = fit_law(
    {
      'params': [n for n, _ in cells],
      'tokens': [n * m for n, m in cells],
      'loss': [models[cell][0] for cell in cells],
    },
    'over_training',
    space='linear',
    delta=np.inf,
  )
  known = [models[cell] for cell in (*cells, (MEDIUM, 20.0))]
  error = fit_law(
    {'loss': [k[0] for k in known], 'error': [k[1] for k in known]},
    'exponential_error',
  )
  return loss, error


@pytest.mark.parametrize(
  'cell, loss_error, task_error',
  [((MEDIUM, 640.0), 0.7103, 3.6365), ((LARGE, 20.0), 0.7320, 0.0464)],
)
def test_published_errors(models, fits, cell, loss_error, task_error):
  n, m = cell
  loss_fit, error_fit = fits
  loss = forecast(loss_fit, {'params': n, 'tokens': n * m})
  task = forecast(error_fit, {'loss': loss.value})
  truth = models[cell]
  found = [
    100 * abs(score_forecast(f, t).relative_error)
    for f, t in zip((loss, task), truth, strict=True)
  ]
  assert found == pytest.approx([loss_error, task_error], abs=0.005)


def test_published_parameters_without_an_interval(fits):
  loss, error = fits
  assert loss.params['k'] == pytest.approx(0.2729, abs=1e-4)
  assert loss.params['E'] == pytest.approx(1.8366, abs=1e-4)
  assert error.params == pytest.approx(
    {'k': 2.2065, 'gamma': 0.7146, 'eps': 0.857}, abs=1e-4
  )
  # Five points for four parameters.
  assert loss.intervals == {}
  assert loss.warnings[0].startswith('5 points for 4 parameters: no interval')
