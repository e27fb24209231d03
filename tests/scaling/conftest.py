"""A known law, and ladders that follow it."""

import numpy as np
import pytest

from scaling.points import Points

SIZES = (25e3, 55e3, 150e3, 440e3, 790e3)
BUDGETS = (0.8e6, 1.6e6, 3.2e6)


def law_value(params_P, n, d):
  """L(N, D), written out a second time."""
  E, A, B, alpha, beta = params_P
  return E + A / n**alpha + B / d**beta


def make_points(n, d, value, seed=None):
  n, d, value = (np.asarray(x, np.float64) for x in (n, d, value))
  return Points(
    columns={'params': n, 'tokens': d, 'flops': 6 * n * d},
    value=value,
    stderr=np.zeros(len(n)),
    seed=np.zeros(len(n)) if seed is None else np.asarray(seed, np.float64),
    size=('',) * len(n),
    conventions={
      'params': 'non_embedding',
      'flops': '6ND',
      'value': 'heldout/loss',
    },
  )


def make_scores(loss, score, stderr=0.01):
  loss, score = (np.asarray(x, np.float64) for x in (loss, score))
  return Points(
    columns={'loss': loss, 'items': np.full(len(loss), 1000.0)},
    value=score,
    stderr=np.broadcast_to(np.asarray(stderr, np.float64), loss.shape),
    seed=np.zeros(len(loss)),
    size=('',) * len(loss),
    conventions={'value': 'choice/accuracy'},
  )


def make_ladder(params_P, noise=0.0, rng=None, rows=14):
  """14 rungs, five sizes by three budgets less the dearest."""
  n, d = (x.ravel() for x in np.meshgrid(SIZES, BUDGETS, indexing='ij'))
  n, d = n[:rows], d[:rows]
  value = law_value(params_P, n, d)
  if noise:
    value = value * np.exp(noise * rng.standard_normal(rows))
  return make_points(n, d, value)


@pytest.fixture(scope='session')
def truth():
  """E, A, B, alpha, beta of a law with losses from 4.0 to 2.9."""
  return np.array([2.0, 40.0, 400.0, 0.4, 0.42])


@pytest.fixture(scope='session')
def law():
  return law_value


@pytest.fixture(scope='session')
def as_points():
  return make_points


@pytest.fixture(scope='session')
def as_scores():
  return make_scores


@pytest.fixture(scope='session')
def ladder():
  return make_ladder
