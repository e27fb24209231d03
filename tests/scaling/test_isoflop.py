"""IsoFLOP profiles: known optima, and published exponents."""

import csv
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from scaling.allocation import Optima, power_laws
from scaling.fitted import fit_from_json
from scaling.isoflop import fit_isoflop, predict, weights

DATA = Path(__file__).parents[2].parent / 'shared/data/scaling'
PORIAN, LLAMA = DATA / 'porian', DATA / 'llama3_isoflop/isoflops_points.csv'
BUDGETS = np.geomspace(1e18, 1e21, 7)
LAW = (1.82, 482.0, 2085.0, 0.348, 0.366)  # E, A, B, alpha, beta


def parabolas(offset=0.0, noise=0.0, scatter=0.0, sizes=9, seed=0):
  """Parabolas about N* = 0.1 C^0.5, `offset` from the middle of the sizes."""
  rng = np.random.default_rng(seed)
  offset = np.broadcast_to(offset, len(BUDGETS))
  columns = {'flops': [], 'params': [], 'loss': []}
  for flops, off in zip(BUDGETS, offset, strict=True):
    best = np.log(0.1 * flops**0.5) + scatter * rng.standard_normal()
    x = best + off + np.linspace(-1.5, 1.5, sizes)
    loss = 3 * (flops / 1e18) ** -0.05 * (1 + 0.02 * (x - best) ** 2)
    columns['flops'] += [flops] * sizes
    columns['params'] += np.exp(x).tolist()
    columns['loss'] += (
      loss * np.exp(noise * rng.standard_normal(sizes))
    ).tolist()
  return {name: np.array(column) for name, column in columns.items()}


def chinchilla(low, high, sizes):
  """Runs of sizes from `low` to `high` times the best; and the best ones."""
  E, A, B, alpha, beta = LAW
  G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
  best = G * (BUDGETS / 6) ** (beta / (alpha + beta))
  n = (best[:, None] * np.geomspace(low, high, sizes)).ravel()
  flops = np.repeat(BUDGETS, sizes)
  loss = E + A / n**alpha + B / (flops / (6 * n)) ** beta
  return {'flops': flops, 'params': n, 'loss': loss}, best


def test_exact_parabolas():
  found = fit_isoflop(parabolas(0.4))
  params = found.fit.params
  assert params['a'] == pytest.approx(0.5, abs=1e-9)
  assert params['G'] == pytest.approx(0.1, rel=1e-7)
  assert params['b'] == pytest.approx(0.5, abs=1e-9)
  assert params['H'] == pytest.approx(1 / 0.6, rel=1e-7)
  assert found.optima.loss == pytest.approx(3 * (BUDGETS / 1e18) ** -0.05)
  assert found.fit.warnings == ()


@pytest.mark.parametrize('form', ['parabola', 'akima'])
def test_minima_out_of_range_are_dropped_not_clipped(form):
  """Two budgets whose sizes all lie above, or below, the best one."""
  offset = np.array([0, 0, 1.8, 0, 0, 0, -2.0])
  found = fit_isoflop(parabolas(offset), form=form)
  assert found.optima.flops == pytest.approx(np.delete(BUDGETS, [2, 6]))
  assert found.fit.params['a'] == pytest.approx(0.5, abs=1e-3)
  dropped = [text for text in found.fit.warnings if 'is dropped' in text]
  assert [text[:12] for text in dropped] == ['C = 1e+19 is', 'C = 1e+21 is']
  # Clipped to the nearest size they would have been this far off.
  edge = np.log(0.1 * BUDGETS[6] ** 0.5) - 0.5
  best = np.append(np.log(found.optima.params), edge)
  clipped = np.polyfit(
    np.log(np.append(found.optima.flops, BUDGETS[6])), best, 1
  )
  assert abs(clipped[0] - 0.5) > 0.02


def test_a_maximum_is_no_minimum():
  data = parabolas()
  last = data['flops'] == BUDGETS[6]
  data['loss'] = np.where(last, 6 - data['loss'], data['loss'])
  found = fit_isoflop(data)
  assert len(found.optima.flops) == 6
  assert found.fit.params['a'] == pytest.approx(0.5)


def test_four_sizes_tell_no_minimum():
  data = parabolas()
  few = np.ones(len(data['loss']), bool)
  few[4:9] = False
  found = fit_isoflop({name: column[few] for name, column in data.items()})
  assert len(found.optima.flops) == 6
  assert '4 params' in found.fit.warnings[0]


def test_budgets_within_one_percent():
  data = parabolas()
  exact = fit_isoflop(data).optima
  wobble = 1 + 0.009 * np.random.default_rng(0).random(len(data['flops']))
  found = fit_isoflop(data | {'flops': data['flops'] * wobble})
  assert found.optima.params == pytest.approx(exact.params)
  assert found.optima.flops == pytest.approx(exact.flops, rel=0.009)
  wild = data | {'flops': data['flops'] * (1 + 20 * (wobble - 1))}
  with pytest.raises(UserError, match='where 5 are the least'):
    fit_isoflop(wild)
  given = fit_isoflop(wild | {'budget': data['flops']}, budget='budget')
  assert given.optima.params == pytest.approx(exact.params)


def test_seeds_of_a_size_are_averaged():
  one, two = (parabolas(noise=0.002, seed=seed) for seed in range(2))
  mean = one | {'loss': (one['loss'] + two['loss']) / 2}
  both = {name: np.concatenate([one[name], two[name]]) for name in one}
  both['seed'] = np.repeat([0, 1], len(one['loss']))
  for form in ('parabola', 'akima'):
    assert fit_isoflop(both, form=form).optima.params == pytest.approx(
      fit_isoflop(mean, form=form).optima.params
    )


def test_tokens_where_flops_are_not_6nd():
  """A head that costs as much as 3e7 parameters: D* = C / 6 / (N* + 3e7)."""
  data = parabolas()
  data['tokens'] = data['flops'] / (6 * (data['params'] + 3e7))
  optima = fit_isoflop(data).optima
  expected = BUDGETS / (6 * (0.1 * BUDGETS**0.5 + 3e7))
  assert optima.tokens == pytest.approx(expected, rel=2e-3)


def test_tokens_alone():
  data = parabolas()
  tokens = {
    'flops': data['flops'],
    'tokens': data['flops'] / (6 * data['params']),
    'loss': data['loss'],
  }
  found = fit_isoflop(tokens, axis='tokens')
  assert found.fit.params == pytest.approx(fit_isoflop(data).fit.params)


def test_units_do_not_matter():
  data = parabolas(0.2, noise=0.002)
  billions = data | {
    'params': data['params'] / 1e9,
    'tokens': data['flops'] / (6 * data['params']),
  }
  one, other = (fit_isoflop(d).fit.params for d in (data, billions))
  assert other['a'] == pytest.approx(one['a'])
  assert other['G'] == pytest.approx(one['G'] / 1e9)


def test_known_law():
  """Akima follows the lopsided profiles of a Chinchilla law, close to exact."""
  data, best = chinchilla(0.1, 10, 17)
  found = fit_isoflop(data, form='akima')
  assert found.optima.params == pytest.approx(best, rel=0.02)
  _, _, _, alpha, beta = LAW
  assert found.fit.params['a'] == pytest.approx(beta / (alpha + beta), abs=2e-3)


def test_parabola_that_does_not_fit_is_told():
  data, _ = chinchilla(0.01, 30, 13)
  said = fit_isoflop(data).fit.warnings
  assert any('a parabola does not fit' in text for text in said)
  data, _ = chinchilla(0.5, 2, 7)
  rng = np.random.default_rng(0)
  data['loss'] *= np.exp(0.001 * rng.standard_normal(len(data['loss'])))
  said = fit_isoflop(data).fit.warnings
  assert not any('a parabola does not fit' in text for text in said)


def test_stderr_of_a_vertex():
  """That of the delta method, from the covariance of a least-squares fit."""
  data = parabolas(0.3, noise=5e-4)
  optima = fit_isoflop(data, noise=5e-4, resamples=4000).optima
  rows = slice(0, 9)
  x = np.log(data['params'][rows])
  design = np.vander(x - np.mean(x), 3)
  c2, c1, _ = np.linalg.lstsq(design, data['loss'][rows])[0]
  slope = np.array([c1 / (2 * c2**2), -1 / (2 * c2), 0.0])
  error = 5e-4 * np.mean(data['loss'][rows])
  variance = error**2 * slope @ np.linalg.inv(design.T @ design) @ slope
  assert optima.params_stderr[0] == pytest.approx(variance**0.5, rel=0.05)


@pytest.mark.parametrize('form', ['parabola', 'akima'])
def test_noise_is_measured(form):
  """The width of the intervals as if the noise had been given."""
  data = parabolas(noise=0.002, sizes=25)
  params = [
    fit_isoflop(data, form=form, noise=noise).optima.params_stderr
    for noise in (0.002, None)
  ]
  assert np.mean(params[1]) == pytest.approx(np.mean(params[0]), rel=0.15)


def test_weights():
  """The moments of DerSimonian and Laird, by the matrix of residuals."""
  rng = np.random.default_rng(0)
  flops = np.geomspace(1e18, 1e21, 8)
  stderr = rng.uniform(0.01, 0.2, 8)
  y = 0.5 * np.log(flops) + 0.1 * rng.standard_normal(8)
  none = np.zeros(8)
  optima = Optima(flops, np.exp(y), np.exp(y), none, stderr, 100 * stderr)
  x = np.column_stack([np.ones(8), np.log(flops)])
  W = np.diag(1 / stderr**2)
  P = W - W @ x @ np.linalg.inv(x.T @ W @ x) @ x.T @ W
  tau2 = (y @ P @ y - 6) / np.trace(P)
  assert tau2 > 0
  found = weights(optima)
  assert found[0] == pytest.approx(1 / (stderr**2 + tau2))
  # Errors that explain all the scatter are all there is.
  assert found[1] == pytest.approx(1 / (100 * stderr) ** 2)


def test_intervals_cover():
  """At 90%, where minima scatter more than noise alone makes them."""
  covered = []
  for seed in range(200):
    data = parabolas(noise=0.002, scatter=0.1, seed=seed)
    low, high = fit_isoflop(data, resamples=300).fit.intervals['a']
    covered.append(low < 0.5 < high)
  assert np.mean(covered) == pytest.approx(0.9, abs=0.06)


def test_few_budgets():
  data = parabolas()
  some = data['flops'] < 1e19 * 1.01
  found = fit_isoflop({name: column[some] for name, column in data.items()})
  assert found.fit.n == 3
  assert not found.fit.intervals
  assert '3 optima: no interval' in found.fit.warnings[-1]
  assert predict(found.fit, 1e20).params_interval is None
  one = data['flops'] == BUDGETS[0]
  with pytest.raises(UserError, match='1 budgets with a minimum'):
    fit_isoflop({name: column[one] for name, column in data.items()})


def test_predict():
  fit = fit_isoflop(parabolas(noise=0.002, scatter=0.05)).fit
  split = predict(fit, [1e20, 1e22])
  assert split.params == pytest.approx(0.1 * np.sqrt([1e20, 1e22]), rel=0.2)
  assert split.params * split.tokens * 6 == pytest.approx([1e20, 1e22])
  for values, spans in (split[::2], split[1::2]):
    assert np.all((spans[0] < values) & (values < spans[1]))
  # Wider where it extrapolates.
  wide = np.log(split.params_interval[1] / split.params_interval[0])
  assert wide[1] > wide[0]
  assert predict(fit_from_json(fit.to_json()), 1e22).params == split.params[1]
  with pytest.raises(UserError, match='above 0'):
    predict(fit, -1.0)


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'form': 'cubic'}, 'choose from parabola, akima'),
    ({'axis': 'flops'}, 'choose from params, tokens'),
    ({'budget': 'group'}, 'group'),
    ({'noise': -1.0}, 'noise = -1.0'),
    ({'axis': 'tokens', 'level': 1.0}, 'level'),
  ],
)
def test_errors(options, said):
  with pytest.raises(UserError, match=said):
    fit_isoflop(parabolas(), **options)


def read(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def columns(rows, names):
  return {
    name: np.array([float(row[theirs]) for row in rows])
    for name, theirs in names.items()
  }


def key(row):
  names = 'source_file dataset hparams warmup decay param_count val'
  return tuple(row[name] for name in names.split())


porian = pytest.mark.skipif(
  not PORIAN.is_dir(), reason='shared/data/scaling/porian is absent'
)
llama = pytest.mark.skipif(
  not LLAMA.is_file(), reason='shared/data/scaling/llama3_isoflop is absent'
)


@porian
def test_porian_regressions():
  """Their optima, weighted by their standard deviations: to four digits."""
  pairs = read(PORIAN / 'optimal_pairs.csv')
  published = read(PORIAN / 'published_fits.csv')
  assert len(published) == 10
  for fit in published:
    rows = [r for r in pairs if key(r) == key(fit) and r['n_star_std']]
    names = ('flops', 'n_star', 't_star', 'n_star_std', 't_star_std')
    c = columns(rows, dict(zip(names, names, strict=True)))
    _, a, _, b = power_laws(
      np.log(c['flops']),
      np.log([c['n_star'], c['t_star']]),
      1 / np.square([c['n_star_std'], c['t_star_std']]),
    )
    assert a == pytest.approx(float(fit['weighted.n_exponent']), abs=1e-4)
    assert b == pytest.approx(float(fit['weighted.t_exponent']), abs=1e-4)


@porian
@pytest.mark.parametrize(
  ('chosen', 'exponent'),
  [
    ('base long kaplan kaplan train', 0.8353),
    ('base long kaplan standard val', 0.7065),
    ('base short kaplan standard val', 0.6020),
    ('base short chinchilla standard val', 0.5715),
    ('tuned short const standard val', 0.4969),
  ],
)
def test_porian_profiles(chosen, exponent):
  """From the runs; noise of their seeds is .002 nats, .0005 of a loss."""
  wanted = ('summary_df', 'rw', *chosen.split())
  rows = [r for r in read(PORIAN / 'isoflop_points.csv') if key(r) == wanted]
  names = {'flops': 'flops', 'params': 'n', 'tokens': 't', 'loss': 'loss'}
  fit = fit_isoflop(columns(rows, names), form='akima', noise=5e-4).fit
  assert fit.params['a'] == pytest.approx(exponent, abs=0.005)
  low, high = fit.intervals['a']
  assert low < exponent < high


@porian
def test_porian_drops_the_cheapest_budget():
  """As the authors do: its minimum is at the smallest size."""
  wanted = ('summary_df', 'rw', 'base', 'long', 'kaplan', 'standard', 'val')
  rows = [r for r in read(PORIAN / 'isoflop_points.csv') if key(r) == wanted]
  names = {'flops': 'flops', 'params': 'n', 'loss': 'loss'}
  found = fit_isoflop(columns(rows, names), form='akima', noise=5e-4)
  theirs = [
    float(r['flops'])
    for r in read(PORIAN / 'optimal_pairs.csv')
    if key(r) == wanted and r['n_star_std']
  ]
  assert found.optima.flops == pytest.approx(theirs)
  assert 'C = 1.25e+16 is dropped' in found.fit.warnings[0]


@pytest.fixture
def llama_runs():
  names = {
    'flops': 'compute_budget',
    'tokens': 'training_tokens',
    'loss': 'validation_loss',
  }
  return columns(read(LLAMA), names)


@llama
@pytest.mark.parametrize('weighted', [True, False])
def test_llama(llama_runs, weighted):
  """Figure 2 of the Llama 3 report, read off; 16.55T tokens there."""
  found = fit_isoflop(llama_runs, axis='tokens', weighted=weighted)
  assert found.fit.n == 10
  assert found.fit.params['b'] == pytest.approx(0.5368, abs=0.01)
  split = predict(found.fit, 3.8e25)
  assert split.tokens[0] == pytest.approx(16.10e12, rel=0.05)
  assert split.params[0] == pytest.approx(393e9, rel=0.05)


@llama
def test_llama_hangs_on_its_top_budget(llama_runs):
  found = fit_isoflop(llama_runs, axis='tokens', weighted=False)
  assert found.fit.params['b'] == pytest.approx(0.5368, abs=5e-5)
  assert found.fit.params['H'] == pytest.approx(0.2994, abs=5e-5)
  assert found.without[-1, 3] == pytest.approx(0.511, abs=5e-4)
  less = {k: v[llama_runs['flops'] < 9e21] for k, v in llama_runs.items()}
  fit = fit_isoflop(less, axis='tokens', weighted=False).fit
  assert fit.params['b'] == pytest.approx(0.511, abs=5e-4)
  said = fit_isoflop(llama_runs, axis='tokens').fit.warnings
  assert any('C = 1e+22 alone moves a' in text for text in said)
