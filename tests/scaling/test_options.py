"""Smaller models, least total cost and repeated data."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from scaling.laws.chinchilla import CHINCHILLA
from scaling.optimum import Surface, optimum
from scaling.options import (
  EPOCHS,
  SMALLER,
  Terms,
  least_total,
  repeated,
  same_budget,
  same_loss,
)

# E, A, B, alpha, beta of Hoffmann et al. 2022 and of Besiroglu et al. 2024.
HOFFMANN = np.array([1.69, 406.4, 410.7, 0.336, 0.283])
BESIROGLU = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])


def make_surface(params, **more):
  params = np.atleast_2d(params)
  return Surface(CHINCHILLA, params, np.zeros(len(params)), 'log', **more)


def test_thirteen_billion_become_seven():
  """Sardana et al. 2023, arXiv:2401.00448, section 1.

  Who trains 13B to its optimum and expects 2T tokens of inference spends 1.7e22
  FLOPs (17%) less by training a 7B model on more data.
  """
  surface = make_surface(HOFFMANN)
  flops = brentq(
    lambda c: optimum(surface, c).params[0] - 13e9, 1e21, 1e24, rtol=1e-9
  )
  terms = Terms(flops, 0.9, inference_tokens=2e12)
  row = least_total(surface, 13e9, terms)
  assert round(row['params'] / 1e9) == 7
  assert round(row['saved'], 2) == 0.17
  whole = terms.total(13e9, flops / 6 / 13e9)
  assert round((whole - row['total_flops']) / 1e22, 1) == 1.7


def test_least_total_is_scipy_s():
  E, A, B, alpha, beta = BESIROGLU
  flops, inference = 1e22, 3e12
  surface = make_surface(BESIROGLU)
  best = optimum(surface, flops)
  loss = surface.loss(best.params, best.tokens)[0, 0]

  def total(log_n):
    n = np.exp(log_n)
    gap = loss - E - A / n**alpha
    return 6 * n * (B / gap) ** (1 / beta) + 2 * n * inference

  exact = minimize_scalar(
    total, bounds=(21.5, np.log(best.params[0])), method='bounded'
  )
  row = least_total(surface, best.params[0], Terms(flops, 0.9, inference))
  assert row['total_flops'] == pytest.approx(exact.fun, rel=1e-8)
  assert row['params'] == pytest.approx(np.exp(exact.x), rel=1e-3)
  assert row['loss'] == pytest.approx(loss, rel=1e-12)


def test_without_inference_nothing_beats_the_optimum():
  surface = make_surface(BESIROGLU)
  best = optimum(surface, 1e21).params[0]
  row = least_total(surface, best, Terms(1e21, 0.9, 1.0))
  assert row['params'] == pytest.approx(best, rel=1e-4)
  assert row['saved'] == pytest.approx(0, abs=1e-9)


def test_smaller_sizes_at_the_same_budget():
  surface = make_surface(BESIROGLU)
  found = same_budget(surface, 8e9, Terms(1e21, 0.9))
  E, A, B, alpha, beta = BESIROGLU
  for row, share in zip(found, SMALLER, strict=True):
    n, d = 8e9 / share, 1e21 / 6 / (8e9 / share)
    assert (row['params'], row['tokens']) == pytest.approx((n, d))
    assert row['loss'] == pytest.approx(E + A / n**alpha + B / d**beta)
    assert row['training_flops'] == pytest.approx(1e21)
    assert row['loss_interval'] is None
    assert 'total_flops' not in row


def test_smaller_sizes_at_the_same_loss():
  surface = make_surface(BESIROGLU)
  best = optimum(surface, 1e21).params[0]
  loss = same_budget(surface, best, Terms(1e21, 0.9))[0]['loss']
  found = same_loss(surface, best, Terms(1e21, 0.9, 1e12))
  # An eighth of the optimum cannot reach its loss by this law.
  assert len(found) == 2
  for row in found:
    assert row['loss'] == pytest.approx(loss, rel=1e-9)
    assert row['training_overhead'] > 0
    # Where it says so, both runs cost the same in all.
    served = row['pays_from_inference_tokens']
    ours = row['training_flops'] + 2 * row['params'] * served
    assert ours == pytest.approx(1e21 + 2 * best * served)


def test_the_best_run_on_few_tokens_beats_every_number_of_epochs():
  surface = make_surface(BESIROGLU, unique_tokens=1e10)
  best, menu = repeated(surface, Terms(1e22, 0.9))
  assert best is not None
  assert [row['epochs'] for row in menu] == pytest.approx(EPOCHS)
  assert all(row['training_flops'] == pytest.approx(1e22) for row in menu)
  losses = [row['loss'] for row in menu]
  assert best['loss'] < min(losses)
  # It lies between its neighbours on the menu.
  at = int(np.argmin(losses))
  assert EPOCHS[at - 1] < best['epochs'] < EPOCHS[at + 1]


def test_more_tokens_than_the_budget_can_see():
  surface = make_surface(BESIROGLU, unique_tokens=1e19)
  best, menu = repeated(surface, Terms(1e20, 0.9))
  assert [row['epochs'] for row in menu] == [1.0]
  exact = optimum(make_surface(BESIROGLU), 1e20)
  assert best is not None
  assert best['params'] == pytest.approx(exact.params[0])


def test_four_epochs_are_nearly_as_good_as_new_data():
  """Muennighoff et al. 2023, abstract: up to 4 epochs hardly differ."""
  E, A, B, alpha, beta = BESIROGLU
  surface = make_surface(BESIROGLU, unique_tokens=2.5e10)
  size = 1e9
  four = surface.loss(np.array([size]), np.array([1e11]))[0, 0]
  fresh = E + A / size**alpha + B / 1e11**beta
  assert 0 < four / fresh - 1 < 0.005
  forty = surface.loss(np.array([size]), np.array([1e12]))[0, 0]
  fresh = E + A / size**alpha + B / 1e12**beta
  assert forty / fresh - 1 > 0.01
