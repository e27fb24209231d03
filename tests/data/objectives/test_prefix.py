import collections

import numpy as np
import pytest

from data import objectives
from data.objectives.base import ObjectiveConfig

CONFIG = ObjectiveConfig(kind='prefix')


def test_ends_of_the_source_are_alike():
  # u in [0, 1) falls into as many equal parts as there are ends, 1 to L - 1
  prefix = objectives.make(CONFIG, 'encoder_decoder', None, 0)
  us = (np.arange(3600) + 0.5) / 3600
  ends = collections.Counter(prefix.sizes(13, u)[0] for u in us)
  assert ends == {end: 300 for end in range(1, 13)}


@pytest.mark.parametrize('length', [1, 2, 3, 128, 2**20])
def test_every_piece_has_both(length):
  prefix = objectives.make(CONFIG, 'encoder_decoder', None, 0)
  for u in (0.0, 0.5, np.nextafter(1, 0)):
    source, target = prefix.sizes(length, u)
    assert 1 <= source <= max(1, length - 1)
    # what follows the piece is written, too
    assert source + target == length + 1


def test_by_hand(make_piece):
  piece = np.array([0, 11, 12, 13, 14])  # the document goes on
  rng = np.random.default_rng(0)
  both = objectives.make(CONFIG, 'encoder_decoder', None, 9)
  example = both.example(piece, 0.4, rng)
  assert example.source.tolist() == [0, 11]
  assert example.tokens.tolist() == [9, 12, 13]
  assert example.targets.tolist() == [12, 13, 14]
  decoder = objectives.make(CONFIG, 'decoder', None, 9)
  example = decoder.example(piece, 0.4, rng)
  # as in a causal model, but for what is seen and learnt
  assert example.tokens.tolist() == [0, 11, 12, 13]
  assert example.targets.tolist() == [11, 12, 13, 14]
  assert example.prefix.tolist() == [True, True, False, False]
  assert example.weights.tolist() == [0, 1, 1, 1]
