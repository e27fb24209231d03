"""Decisions by hand, against SciPy, and on public runs."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from scaling.decisions import (
  decision_accuracy,
  proxy_agreement,
  signal_to_noise,
)

DATA = Path(__file__).parents[2].parent / 'shared/data/scaling'
GADRE = DATA / 'gadre_overtraining/models_104.csv'
PYTHIA = DATA / 'pythia_evals/pythia_v1_evals.csv'


def test_by_hand():
  """Of six pairs, one is tied at the target, one at the small scale."""
  found = decision_accuracy([1, 2, 2, 4], [10, 20, 30, 20])
  # (1,2) (1,3) (1,4) right, (2,3) a coin, (3,4) wrong.
  assert found.accuracy == pytest.approx(3.5 / 5)
  assert (found.pairs, found.undecided, found.tied) == (5, 1, 1)


def test_kendall():
  """Without ties it is (tau + 1) / 2."""
  rng = np.random.default_rng(0)
  for _ in range(5):
    small, target = rng.standard_normal((2, 25))
    tau = stats.kendalltau(small, target).statistic
    found = decision_accuracy(small, target, resamples=10)
    assert found.accuracy == pytest.approx((tau + 1) / 2)
    assert found.pairs == 300


def test_extremes():
  score = np.arange(6.0)
  for sign, accuracy in ((1, 1.0), (-1, 0.0)):
    found = decision_accuracy(score, sign * score)
    assert found.accuracy == accuracy
    assert found.interval == (accuracy, accuracy)
    assert found.stderr == 0
  coin = decision_accuracy(np.ones(6), score)
  assert (coin.accuracy, coin.undecided) == (0.5, 15)


def test_differences_within_noise_are_ties():
  target = [0.0, 0.1, 1.0, 1.1]
  found = decision_accuracy([1, 0, 3, 2], target, tie=0.5)
  assert (found.accuracy, found.pairs, found.tied) == (1.0, 4, 2)
  assert decision_accuracy([1, 0, 3, 2], target).accuracy == pytest.approx(
    4 / 6
  )


def test_seeds_are_averaged():
  small = np.array([[0.0, 4.0], [3.0, np.nan], [1.0, 1.0]])
  found = decision_accuracy(small, [2.0, 3.0, 1.0])
  assert found.accuracy == 1.0
  # Drawn again, the first recipe can be worse or better than the others.
  assert found.interval[0] < 1.0


def test_standard_error_is_that_of_new_recipes():
  """The spread of the accuracy over recipes drawn from their population."""
  rng = np.random.default_rng(0)

  def suite():
    quality = rng.standard_normal(25)
    return quality + 0.7 * rng.standard_normal(25), quality

  truth = np.std(
    [decision_accuracy(*suite(), resamples=2)[0] for _ in range(300)]
  )
  found = [decision_accuracy(*suite(), resamples=200).stderr for _ in range(15)]
  assert np.mean(found) == pytest.approx(truth, rel=0.2)


def test_signal_to_noise_by_hand():
  scores = np.array([[0.4, 0.6], [0.9, 1.1]])  # means .5 and 1
  found = signal_to_noise(scores)
  deviation = 0.2 / np.sqrt(2)
  assert found.signal == pytest.approx(0.5 / 0.75)
  assert found.noise == pytest.approx((deviation / 0.5 + deviation / 1) / 2)
  assert found.ratio == pytest.approx(found.signal / found.noise)
  spread = signal_to_noise(scores, dispersion='std')
  assert spread.signal == pytest.approx(0.5 / np.sqrt(2) / 0.75)


def test_signal_to_noise_of_tasks():
  rng = np.random.default_rng(0)
  scores = rng.uniform(0.3, 0.9, (4, 5, 6))
  found = signal_to_noise(scores)
  for task in range(4):
    one = signal_to_noise(scores[task])
    assert found.ratio[task] == pytest.approx(one.ratio)
    # Of no unit.
    assert signal_to_noise(7 * scores[task]).ratio == pytest.approx(one.ratio)
  assert signal_to_noise(np.repeat([[1.0], [2]], 3, 1)).ratio == np.inf


def test_proxy_agreement():
  proxy, target = [1, 2, 3, 4], [1, 2, 4, 3]
  found = proxy_agreement(proxy, target)
  assert found.kendall == pytest.approx(4 / 6)
  assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))


@pytest.mark.parametrize(
  ('call', 'said'),
  [
    (lambda: decision_accuracy([1, 2], [1, 2, 3]), '3 in target'),
    (lambda: decision_accuracy([1, 2], [1, 1]), 'no pair'),
    (lambda: decision_accuracy([1, np.nan], [1, 2]), 'recipe 1'),
    (lambda: decision_accuracy([1, np.inf], [1, 2]), 'finite'),
    (lambda: decision_accuracy([1, 2], [1, 2], tie=-1), 'tie = -1'),
    (lambda: decision_accuracy([1, 2], [1, 2], level=2), 'level'),
    (lambda: signal_to_noise(np.ones((3, 1))), 'checkpoints'),
    (lambda: signal_to_noise(np.zeros((3, 2))), 'above 0'),
    (lambda: signal_to_noise(np.ones((3, 2)), dispersion='iqr'), 'range, std'),
    (lambda: proxy_agreement([1, 2], [1, 2, 3]), 'shape'),
    (lambda: proxy_agreement([1, 2], [3, 3]), 'target'),
  ],
)
def test_errors(call, said):
  with pytest.raises(UserError, match=said):
    call()


@pytest.mark.skipif(
  not GADRE.is_file(), reason='shared/data/scaling/gadre_overtraining is absent'
)
def test_corpora_of_gadre():
  """Three corpora by their loss on C4, runs of 20 tokens a parameter.

  At 1.4B C4 itself, RefinedWeb, RedPajama, as at 411M. At 6.9B the last two
  have changed places: the small scale orders two of three pairs.
  """
  with GADRE.open() as file:
    rows = [row for row in csv.DictReader(file) if row['tok_mult'] == '20.0']

  def losses(params):
    found = {
      row['dataset']: float(row['loss_c4_val'])
      for row in rows
      if int(row['N']) == params
    }
    return [found[name] for name in ('c4_original', 'rpj', 'rw_original')]

  small, middle, large = map(losses, (411616256, 1439795200, 6889410560))
  assert decision_accuracy(small, middle).accuracy == 1.0
  found = decision_accuracy(small, large)
  assert found.accuracy == pytest.approx(2 / 3)
  # Three recipes tell next to nothing.
  assert found.interval == (0.0, 1.0)


@pytest.mark.skipif(
  not PYTHIA.is_file(), reason='shared/data/scaling/pythia_evals is absent'
)
def test_tasks_of_pythia():
  """Over eight sizes and the last five checkpoints, zero-shot.

  LogiQA and the Winograd schemas stay near chance up to 12B: their signal
  hardly exceeds their noise. The others separate the sizes ten times better.
  """
  sizes = ('70m', '160m', '410m', '1b', '1.4b', '2.8b', '6.9b', '12b')
  steps = range(103_000, 143_001, 10_000)
  names = (
    'arc_challenge arc_easy lambada_openai logiqa piqa sciq winogrande wsc'
  )
  tasks = names.split()
  with PYTHIA.open() as file:
    value = {
      (row['task'], row['model'], int(row['step'])): float(row['value'])
      for row in csv.DictReader(file)
      if (row['shots'], row['metric']) == ('zero-shot', 'acc')
    }
  scores = np.array(
    [
      [
        [value[task, f'pythia-{size}-deduped', step] for step in steps]
        for size in sizes
      ]
      for task in tasks
    ]
  )
  found = dict(zip(tasks, signal_to_noise(scores).ratio, strict=True))
  poor = {'logiqa', 'wsc'}
  worst = max(found[task] for task in poor)
  best = min(found[task] for task in tasks if task not in poor)
  assert worst < 4
  assert best > 15
