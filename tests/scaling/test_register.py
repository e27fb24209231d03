import json

import numpy as np
import pytest

from configs.errors import UserError
from scaling import register
from scaling.fit import fit_law
from scaling.forecast import forecast

AT = {'params': 1.58e6, 'tokens': 6.4e6}


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.003, np.random.default_rng(0))


@pytest.fixture(scope='module')
def fit(points):
  return fit_law(points, resamples=50)


@pytest.fixture
def sealed(tmp_path, points, fit):
  path = tmp_path / 'forecast.json'
  register.register(
    path,
    {'loss': forecast(fit, AT)},
    {'loss': fit},
    register.digest_of(points),
    {'run': 'large'},
  )
  return path


def test_a_forecast_names_its_data_code_and_law(sealed, points, fit):
  tree = json.loads(sealed.read_text())
  assert tree['data_sha256'] == register.digest_of(points)
  assert tree['code_sha256'] == register.code_digest()
  assert tree['laws']['loss'] == {
    'law': 'chinchilla',
    'params': fit.params,
    'n': 14,
  }
  assert tree['run'] == 'large'
  assert tree['written_at'].endswith('+00:00')


def test_it_is_written_once(sealed, points, fit):
  before = sealed.read_bytes()
  other = {'loss': forecast(fit, {'params': 1e9, 'tokens': 1e9})}
  register.register(sealed, other, {}, 'x')
  assert sealed.read_bytes() == before


def test_a_changed_file_is_refused(sealed):
  sealed.write_text(sealed.read_text().replace('large', 'small'))
  with pytest.raises(UserError, match='a forecast cannot be changed'):
    register.score(sealed, {'loss': 2.8})


def test_a_score_by_hand(sealed, fit):
  value = forecast(fit, AT).value
  found = register.score(sealed, {'loss': value / 1.02})
  assert found['loss']['relative_error'] == pytest.approx(0.02)
  assert found['loss']['truth'] == value / 1.02
  assert found['forecast_sha256'] == register.check(sealed)


def test_mistakes_are_named(sealed, tmp_path):
  with pytest.raises(UserError, match='no sealed forecast'):
    register.check(tmp_path / 'none.json')
  with pytest.raises(UserError, match="holds no forecast of 'score'"):
    register.score(sealed, {'score': 0.5})


def test_other_data_have_another_digest(points):
  other = points.take(range(14))
  assert register.digest_of(other) == register.digest_of(points)
  other.value[3] = np.nextafter(other.value[3], 9)
  assert register.digest_of(other) != register.digest_of(points)
