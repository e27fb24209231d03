"""A vocabulary whose ids tell what they are, and pieces of text made of it."""

import numpy as np
import pytest

from data.objectives.base import Vocabulary

SEPARATOR = 0
SIZE = 1000
FIRST_SPECIAL = 500  # 1 to 499 are ordinary; every third begins a word

SPECIAL = (
  '[MASK]',
  *('<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'),
  *('[R]', '[X]', '[S]'),
  *(f'<extra_id_{index}>' for index in range(100)),
)


@pytest.fixture(scope='session')
def vocabulary():
  return Vocabulary(
    size=SIZE,
    separator_id=SEPARATOR,
    ordinary=np.arange(1, FIRST_SPECIAL, dtype=np.int32),
    starts_word_V=np.arange(SIZE) % 3 == 0,
    # descending, as in T5's
    ids={token: SIZE - 1 - index for index, token in enumerate(SPECIAL)},
  )


@pytest.fixture(scope='session')
def make_piece():
  """Ordinary tokens, one more than `length`, as a store has them."""

  def make(length, seed=0, begins=True, ends=True):
    rng = np.random.default_rng(seed)
    piece = rng.integers(1, FIRST_SPECIAL, length + 1).astype(np.uint16)
    if begins:
      piece[0] = SEPARATOR
    if ends:
      piece[-1] = SEPARATOR
    return piece

  return make
