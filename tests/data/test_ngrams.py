import numpy as np
import pytest

from configs.errors import UserError
from data import ngrams, shingles
from data.ngrams import NgramIndex, ngram_contamination


def letters(text):
  return ' '.join(text)


def test_by_hand():
  train = ['zz', letters('abcdefghijklmn'), letters('xabcdefghijklmnop')]
  evaluation = [
    letters('abcdefghijklm'),  # the first of two 13-grams of text 1
    letters(
      'bcdefghijklmnoQRS'
    ),  # in texts 1 and 2, in text 2, and three nowhere
    letters('abcdefghijkl'),  # 12 words: one gram, in text 1
    letters('hijklmnop'),  # 9 words, at the end of text 2
    letters('abcdefgh'),  # 8 words
    letters('abcdefg'),  # 7 words are too few to tell
    letters('ABCDEFGHIJKL!') + 'm',
    letters('mlkjihgfedcba'),
    '',
  ]
  found = ngram_contamination(train, evaluation)
  assert found.num_grams.tolist() == [1, 5, 1, 1, 1, 0, 1, 1, 0]
  assert found.num_found.tolist() == [1, 2, 1, 1, 1, 0, 1, 0, 0]
  assert found.place.tolist() == [0, 0, 0, 0, 0, -1, 0, -1, -1]
  assert found.train.tolist() == [1, 1, 1, 2, 1, -1, 1, -1, -1]
  np.testing.assert_allclose(found.share, [1, 0.4, 1, 1, 1, 0, 1, 0, 0])


def test_grams_do_not_reach_over_the_end_of_a_text():
  train = [letters('abcdefg'), letters('hijklmn')]
  assert ngram_contamination(train, [letters('abcdefghijklmn')]).share == [0]


def test_place_of_the_first_gram():
  text = letters('QRSabcdefghijklmT')
  found = ngram_contamination([letters('abcdefghijklm')], [text])
  assert (found.num_grams[0], found.num_found[0], found.place[0]) == (5, 1, 3)


def texts(seed, count):
  """Of four words, so that 8-grams are sometimes shared by chance."""
  rng = np.random.Generator(np.random.PCG64(seed))
  return [
    ' '.join(rng.choice(list('abcd'), size))
    for size in rng.integers(1, 60, count)
  ]


@pytest.mark.parametrize('n', [1, 3, 8, 10, 13])
@pytest.mark.parametrize('chunk', [2**19, 300])
def test_as_sets_of_tuples(monkeypatch, n, chunk):
  monkeypatch.setattr(shingles, '_CHUNK', chunk)
  train, evaluation = texts(0, 300), texts(1, 100)
  evaluation += [text[10:80].strip() for text in train[:40]] + train[40:80]
  held = {}
  for index, text in enumerate(train):
    words = text.split()
    for size in range(1, n + 1):
      for i in range(len(words) - size + 1):
        held.setdefault(tuple(words[i : i + size]), index)
  index = NgramIndex(iter(evaluation), n)
  covered = [c for each in shingles.chunks(train) for c in index.add(each)]
  found = index.overlap()
  wanted = set()
  for row, text in enumerate(evaluation):
    words = text.split() or ['']
    size = min(n, len(words))
    grams = [
      tuple(words[i : i + size])
      for i in range(len(words) - size + 1)
      if len(words) >= min(8, n)
    ]
    wanted.update(grams)
    places = [i for i, gram in enumerate(grams) if gram in held]
    assert found.num_grams[row] == len(grams)
    assert found.num_found[row] == len(places)
    assert found.place[row] == (places[0] if places else -1)
    assert found.train[row] == (held[grams[places[0]]] if places else -1)
  assert found.num_found.sum() > 100
  for text, count in zip(train, covered, strict=True):
    words = text.split()
    inside = set()
    for size in range(1, n + 1):
      for i in range(len(words) - size + 1):
        if tuple(words[i : i + size]) in wanted:
          inside.update(range(i, i + size))
    assert count == len(inside)


def test_a_sieve_that_lets_everything_through(monkeypatch):
  expected = ngram_contamination(texts(0, 100), texts(1, 50), 8)
  monkeypatch.setattr(ngrams, '_SIEVE_BITS', (0, 1))
  found = ngram_contamination(texts(0, 100), texts(1, 50), 8)
  np.testing.assert_array_equal(found.num_found, expected.num_found)
  assert found.num_found.sum() > 0


def test_nothing_to_find():
  assert ngram_contamination(['a text'], []).share.tolist() == []
  assert ngram_contamination([], [letters('abcdefghijklm')]).share == [0]
  with pytest.raises(UserError, match='n = 0'):
    ngram_contamination([], [], 0)
