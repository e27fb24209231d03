import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from configs.errors import UserError
from data.objectives.spans import SpanNoise, Spans, known_sentinels, sentinel

END = 0
SENTINELS = np.arange(900, 1000, dtype=np.int32)
STEADY = settings(
  derandomize=True, deadline=None, database=None, max_examples=200
)


def _spans(density=0.15, mean=3.0, sentinels=SENTINELS):
  return Spans(SpanNoise(density, mean), sentinels, END)


@pytest.mark.parametrize(
  ('density', 'mean', 'length', 'expected'),
  [
    (0.15, 3, 568, (85, 28)),  # 85.2, 28.33
    (0.15, 3, 512, (77, 26)),  # 76.8, 25.67
    (0.5, 3, 128, (64, 21)),
    (0.15, 3, 20, (3, 1)),
    (0.15, 3, 3, (1, 1)),  # 0.45, raised to one token and one span
    (0.15, 3, 2, (1, 1)),
    (0.15, 3, 1, (0, 0)),  # nothing can be left around
    (0.9, 1, 10, (9, 1)),  # nine spans, but one token to part them
    (0.99, 3, 10, (9, 1)),  # 9.9, of which one token must be left
    (0.5, 64, 20, (10, 1)),  # shorter than a span is on average
    (0.5, 1, 5, (2, 2)),  # 2.5 is rounded to the even number
    (0.5, 1, 7, (4, 3)),  # 3.5 as well; three tokens part three spans
  ],
)
def test_counts_by_hand(density, mean, length, expected):
  assert SpanNoise(density, mean).counts(length) == expected


@STEADY
@given(
  length=st.integers(2, 300),
  density=st.floats(0.01, 0.99),
  mean=st.floats(1, 100),
  seed=st.integers(0, 2**32),
)
def test_reads_as_t5_writes(length, density, mean, seed):
  spans = _spans(density, mean, np.arange(1000, 1300, dtype=np.int32))
  rng = np.random.default_rng(seed)
  piece = rng.integers(1, 900, length + 1).astype(np.int32)
  source, target = spans.divide(piece, 0.0, rng)
  # the target: sentinels in order, each with a token at least, and the end
  noise, count = SpanNoise(density, mean).counts(length)
  found = []
  for token in target.tolist()[:-1]:
    if token >= 1000:
      assert token == 1000 + len(found)
      found.append([])
    else:
      found[-1].append(token)
  assert target[-1] == END
  assert len(found) == count
  assert all(found)
  assert sum(map(len, found)) == noise
  # the source: starts with what is left, sentinels in order and never adjacent
  is_mark = source >= 1000
  assert not is_mark[0]
  assert not (is_mark[1:] & is_mark[:-1]).any()
  assert source[is_mark].tolist() == list(range(1000, 1000 + count))
  # each span put in the place of its sentinel gives the piece
  whole = []
  for token in source.tolist():
    whole += found[token - 1000] if token >= 1000 else [token]
  assert whole == piece[:-1].tolist()
  assert (len(source), len(target)) == spans.sizes(length, 0.0)


def test_all_masks_are_alike():
  # Of 7 tokens 3 are noise in 2 spans: 1 + 2 or 2 + 1 tokens, and between them
  # 1 + 3, 2 + 2 or 3 + 1 others. All six are as likely.
  spans = _spans(0.43, 1.5)
  assert spans.noise.counts(7) == (3, 2)
  rng = np.random.default_rng(0)
  piece = np.arange(1, 9, dtype=np.int32)
  found = collections.Counter(
    spans.divide(piece, 0.0, rng)[0].tobytes() for _ in range(6000)
  )
  assert len(found) == 6
  assert stats.chisquare(list(found.values())).pvalue > 1e-4


def test_spans_are_as_long_as_they_should_be():
  # n tokens cut into k parts, all ways alike: a part is 1 + g long, of which
  # P(g >= t) = C(n-1-t, k-1) / C(n-1, k-1); the mean is n / k. Here n = 30,
  # k = 10.
  spans = _spans(0.15, 3)
  assert spans.noise.counts(200) == (30, 10)
  rng = np.random.default_rng(0)
  piece = np.arange(1, 202, dtype=np.int32)
  lengths = []
  for _ in range(500):
    _, target = spans.divide(piece, 0.0, rng)
    lengths += np.diff(np.flatnonzero((target >= 900) | (target == 0))).tolist()
  lengths = np.array(lengths) - 1
  assert len(lengths) == 5000
  assert lengths.mean() == 3
  ones = np.mean(lengths == 1)
  # P(length 1) = (k - 1) / (n - 1)
  assert abs(ones - 9 / 29) < 5 * np.sqrt(9 / 29 * 20 / 29 / 5000)


def test_one_span_is_the_end():
  spans = _spans(0.15, 3)
  assert spans.noise.counts(30) == (4, 1)
  piece = np.arange(1, 32, dtype=np.int32)
  for seed in range(10):
    _, target = spans.divide(piece, 0.0, np.random.default_rng(seed))
    assert target.tolist() == [900, 27, 28, 29, 30, END]


def test_a_piece_of_one_token():
  source, target = _spans().divide(
    np.array([7, 8], np.int32), 0.0, np.random.default_rng(0)
  )
  assert source.tolist() == [7]
  assert target.tolist() == [END]


def test_too_few_sentinels():
  spans = _spans(0.5, 2, SENTINELS[:3])
  # 13 tokens: 6 of noise (6.5, to the even number) are 3 spans; 14: 7 are 4
  # (3.5, to the even number)
  assert spans.max_length == 13
  rng = np.random.default_rng(0)
  spans.divide(np.arange(1, 15, dtype=np.int32), 0.0, rng)
  with pytest.raises(UserError) as error:
    spans.divide(np.arange(1, 16, dtype=np.int32), 0.0, rng)
  assert str(error.value) == (
    'a piece of 14 tokens needs 4 sentinels, and the tokenizer has 3, up to '
    '<extra_id_2>: lower data.sequence_length to 13, or take another tokenizer'
  )


def test_known_sentinels():
  ids = {sentinel(index): 32_099 - index for index in range(100)}
  assert known_sentinels(ids).tolist() == list(range(32_099, 31_999, -1))
  assert known_sentinels({'<extra_id_1>': 5}).tolist() == []
