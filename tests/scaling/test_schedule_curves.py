"""The 100M runs of Luo et al. 2025, arXiv:2503.12811."""

from pathlib import Path

import numpy as np
import pytest

from scaling.laws.schedule import Curve, fit_schedule, schedule_loss

DATA = Path(__file__).parents[2].parent / 'shared/data/scaling/mpl_lr_curves'
pytestmark = pytest.mark.skipif(
  not DATA.is_dir(), reason='shared/data/scaling/mpl_lr_curves is absent'
)
WARM_UP, PEAK, END, STEPS = 2160, 3e-4, 3e-5, 24000


def schedule(name, length):
  """The rate of every step, as the paper describes it."""
  step = np.arange(length)
  phase = (step - WARM_UP) / (STEPS - WARM_UP)
  after = {
    'cosine_24000': END + (PEAK - END) * (1 + np.cos(np.pi * phase)) / 2,
    'constant_24000': np.full(length, PEAK),
    'wsdcon_9': np.where(step < 8000, PEAK, 9e-5),
  }[name]
  return np.where(step < WARM_UP, PEAK * step / WARM_UP, after)


@pytest.fixture(scope='module')
def curves():
  read = {}
  for path in sorted((DATA / 'csv_100').glob('*.csv')):
    step, rate, loss = np.loadtxt(path, delimiter=',', skiprows=1).T
    step = step.astype(int)
    rate_T = schedule(path.stem, step[-1] + 1)
    np.testing.assert_allclose(rate_T[step], rate, rtol=1e-12)
    read[path.stem] = Curve(rate_T, step, loss)
  return read


@pytest.fixture(scope='module')
def fit_of_all(curves):
  return fit_schedule(list(curves.values()))


def errors(fit, curve):
  return schedule_loss(fit.params_P, curve.rate_T, curve.step_M) - curve.loss_M


def test_meets_all_three_schedules(curves, fit_of_all):
  assert fit_of_all.converged
  for curve in curves.values():
    assert np.sqrt(np.mean(errors(fit_of_all, curve) ** 2)) < 0.0013


@pytest.mark.parametrize(
  ('name', 'rmse', 'share'),
  # Seen: .0077 and .15%, .0044 and .14%. The paper's own forecasts of other
  # schedules are off by .2% to .4%.
  [
    pytest.param('wsdcon_9', 0.010, 0.002, marks=pytest.mark.long),
    ('cosine_24000', 0.006, 0.002),
  ],
)
def test_two_schedules_forecast_the_third(curves, name, rmse, share):
  held = curves[name]
  fit = fit_schedule([curves[other] for other in curves if other != name])
  off = errors(fit, held)
  assert np.sqrt(np.mean(off**2)) < rmse
  assert np.mean(np.abs(off) / held.loss_M) < share


def test_the_warm_up_counts(curves, fit_of_all):
  """Its rising rates are worth .11 to .16 nats, by those who left them out."""
  _, _, B, C, _, beta, gamma = fit_of_all.params_P
  rate = curves['cosine_24000'].rate_T
  total = np.cumsum(rate)
  k = np.arange(1, WARM_UP + 1)
  for step in curves['cosine_24000'].step_M[[20, 80, -1]]:
    felt = C * rate[k] ** -gamma * (total[step] - total[k - 1])
    worth = B * np.sum((rate[k] - rate[k - 1]) * (1 - (1 + felt) ** -beta))
    assert 0.11 < worth < 0.16
