"""The layouts of a source and a target, by hand."""

import dataclasses

import numpy as np
import pytest

from data.objectives.pairs import Pairs

# Figure 2 of Raffel et al. (2020), by words: "Thank you for inviting me to your
# party last week".
PIECE = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0])
SOURCE = np.array([1, 2, 91, 5, 6, 7, 8, 92, 10], np.int32)
TARGET = np.array([91, 3, 4, 92, 9, 93], np.int32)


@dataclasses.dataclass
class Figure:
  max_length: int = 10

  def sizes(self, length, u):
    return len(SOURCE), len(TARGET)

  def extremes(self, length):
    return (self.sizes(length, 0),)

  def divide(self, piece, u, rng):
    assert piece.dtype == np.int32
    assert piece.tolist() == PIECE.tolist()
    return SOURCE, TARGET

  def join(self, source, target):
    assert source.tolist() == SOURCE.tolist()
    assert target.tolist() == TARGET.tolist()
    return PIECE[:-1]


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_two_stacks(rng):
  objective = Pairs(Figure(), start_id=50)
  example = objective.example(PIECE, 0.5, rng)
  assert example.source.tolist() == [1, 2, 91, 5, 6, 7, 8, 92, 10]
  assert example.tokens.tolist() == [50, 91, 3, 4, 92, 9]
  assert example.targets.tolist() == [91, 3, 4, 92, 9, 93]
  assert example.weights.tolist() == [1] * 6
  assert example.prefix is None
  assert objective.sizes(10, 0.5) == (9, 6)
  assert objective.original(example) is not None


def test_one_stack(rng):
  objective = Pairs(Figure(), start_id=None)
  example = objective.example(PIECE, 0.5, rng)
  assert example.source is None
  row = [1, 2, 91, 5, 6, 7, 8, 92, 10, 91, 3, 4, 92, 9, 93]
  assert example.tokens.tolist() == row[:-1]
  assert example.targets.tolist() == row[1:]
  assert example.prefix.tolist() == [True] * 9 + [False] * 5
  assert example.weights.tolist() == [0] * 8 + [1] * 6
  assert objective.sizes(10, 0.5) == (0, 14)
  assert objective.original(example) is not None
