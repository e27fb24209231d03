"""Logistic regression against closed forms, its definition and invariances."""

import numpy as np
import pytest
from scipy import optimize, special

from finetune import probe


def _data(seed=0, n=200, d=4, c=3):
  random = np.random.default_rng(seed)
  labels = random.integers(0, c, size=n)
  centres = random.normal(size=(c, d))
  return centres[labels] + random.normal(size=(n, d)), labels


def test_features_that_say_nothing_leave_class_frequencies():
  labels = np.repeat([0, 1, 2], [10, 30, 60])
  kernel, bias = probe.fit(np.ones((100, 2)), labels, 3, 1e-2)
  scores = np.ones(2) @ kernel + bias
  np.testing.assert_allclose(special.softmax(scores), [0.1, 0.3, 0.6], 1e-5)


@pytest.mark.parametrize('l2', [1e-2, 1.0])
def test_no_other_head_is_better(l2):
  """The objective on whitened features, minimised by another method."""
  features, labels = _data()
  centred = features - features.mean(0)
  # Whitened by Cholesky: another rotation, of which the penalty knows nothing.
  factor = np.linalg.cholesky(np.linalg.inv(centred.T @ centred / 200))
  z = centred @ factor

  def objective(flat):
    kernel, bias = flat[:12].reshape(4, 3), flat[12:]
    log_p = special.log_softmax(z @ kernel + bias, axis=-1)
    return -log_p[np.arange(200), labels].mean() + l2 / 2 * (kernel**2).sum()

  there = optimize.minimize(objective, np.zeros(15), options={'gtol': 1e-8}).x
  kernel, bias = probe.fit(features, labels, 3, l2)
  np.testing.assert_allclose(
    special.softmax(features @ kernel + bias, axis=-1),
    special.softmax(z @ there[:12].reshape(4, 3) + there[12:], axis=-1),
    atol=1e-4,
  )


def test_a_linear_map_of_the_features_changes_nothing():
  features, labels = _data(1)
  mapped = features @ np.random.default_rng(2).normal(size=(4, 4)) * 30 + 5
  kernel, bias = probe.fit(features, labels, 3, 1e-2)
  other_kernel, other_bias = probe.fit(mapped, labels, 3, 1e-2)
  np.testing.assert_allclose(
    special.softmax(features @ kernel + bias, axis=-1),
    special.softmax(mapped @ other_kernel + other_bias, axis=-1),
    atol=1e-5,
  )


def test_classes_apart_are_told_apart():
  labels = np.arange(90) % 3
  features = np.eye(3)[labels] + 0.01 * np.random.default_rng(0).normal(
    size=(90, 3)
  )
  kernel, bias = probe.fit(features, labels, 3, 1e-2)
  assert (np.argmax(features @ kernel + bias, axis=-1) == labels).all()
