import numpy as np

from data.objectives.causal import Causal


def test_by_hand():
  piece = np.array([0, 5, 6, 0, 7, 9], np.uint16)
  example = Causal().example(piece, 0.5, np.random.default_rng(0))
  assert example.tokens.tolist() == [0, 5, 6, 0, 7]
  assert example.targets.tolist() == [5, 6, 0, 7, 9]
  assert example.weights.tolist() == [1, 1, 1, 1, 1]
  assert example.prefix is None
  assert example.source is None
