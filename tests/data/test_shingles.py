import time
import unicodedata

import numpy as np
import pytest

from data import shingles


def rows(ragged):
  return [
    ragged.values[begin:end].tolist()
    for begin, end in zip(ragged.offsets, ragged.offsets[1:], strict=False)
  ]


def hashed(texts):
  (chunk,) = shingles.chunks(texts)
  return chunk


def random_texts(seed=0, count=60, vocabulary=6):
  rng = np.random.Generator(np.random.PCG64(seed))
  return [
    ' '.join(f'w{i}' for i in rng.integers(0, vocabulary, size))
    for size in rng.integers(1, 30, count)
  ]


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('The CAT, the_dog2!', ['the', 'cat', 'the_dog2']),
    ('x[0] += np.pi', ['x', '0', 'np', 'pi']),
    ('Cafe\u0301 Straße', ['café', 'straße']),  # NFC of e and an accent
    ('\n--- ***\t', ['--- ***']),
    ('', ['']),
    ('\ud800', ['\ud800']),  # a lone surrogate has no UTF-8
  ],
)
def test_words(text, expected):
  assert shingles.words(text) == expected
  assert len(hashed([text]).words.values) == len(expected)


def test_nfc_of_common_text():
  for text in (
    'e\u0301',
    'a\u0315\u0300' * 15,
    'plain',
    '\u2500' * 50 + 'e\u0301',
  ):
    assert shingles.nfc(text) == unicodedata.normalize('NFC', text)


def test_nfc_cuts_long_runs_of_marks():
  cut = '\u034f'  # as UAX #15 has it
  found = shingles.nfc('a' + '\u0300' * 31 + '\u2500')
  assert found == 'à' + '\u0300' * 29 + cut + '\u0300\u2500'
  found = shingles.nfc('q' + '\u0315' * 75 + 'e')
  assert found == 'q' + cut.join('\u0315' * n for n in (30, 30, 15)) + 'e'
  begin = time.perf_counter()
  shingles.words('a' + '\u0315\u0300' * 200_000)
  assert time.perf_counter() - begin < 10  # minutes where it is not cut


def test_all_combining_marks_are_sought():
  marks = [c for c in map(chr, range(0x110000)) if unicodedata.combining(c)]
  assert len(marks) > 800
  for mark in marks:
    assert '\u034f' in shingles.nfc('a' + mark * 31)


def test_fingerprints_are_those_of_sets():
  texts = ['a b c d e f g', 'x', 'a b c d e f g a b c d e f', 'X', 'a b c d e']
  texts += ['f g a b c d e f g a b c']  # all that the third has
  found = shingles.fingerprints(shingles.shingle_sets(hashed(texts)))
  assert found[1] == found[3]
  assert found[2] == found[5]
  assert len(set(found.tolist())) == 4


def test_blocks():
  def bounds(sizes, limit):
    found = shingles.blocks(np.array(sizes, int), limit)
    return [(each.start, each.stop) for each in found]

  assert bounds([3, 4, 4, 9, 1, 0, 7], 8) == [(0, 2), (2, 3), (3, 4), (4, 7)]
  assert bounds([], 8) == []


def test_equal_words_have_equal_hashes_and_others_not():
  words = [f'word{i}' for i in range(2000)]
  twice = hashed([' '.join(words), ' '.join(words[::-1]).upper()]).words
  first, second = rows(twice)
  assert first == second[::-1]
  assert len(set(first)) == 2000


def test_chunks_follow_each_other(monkeypatch):
  texts = [*random_texts(), '', '']
  whole = rows(hashed(texts).words)
  monkeypatch.setattr(shingles, '_CHUNK', 100)
  monkeypatch.setattr(shingles, '_MEMO', 3)  # forgetting changes nothing
  some = list(shingles.chunks(iter(texts)))
  assert len(some) > 10
  assert [text for chunk in some for text in chunk.texts] == texts
  assert [row for chunk in some for row in rows(chunk.words)] == whole
  starts = np.cumsum([0, *(len(chunk.texts) for chunk in some)])
  assert [chunk.first for chunk in some] == starts[:-1].tolist()
  assert list(shingles.chunks([])) == []


@pytest.mark.parametrize('n', [1, 2, 5, 13])
def test_grams_agree_where_their_words_do(n):
  # six words only, so that many grams repeat within and between texts
  texts = random_texts()
  found = rows(shingles.grams(hashed(texts).words, n))
  by_hash, by_words = {}, {}
  for text, hashes in zip(texts, found, strict=True):
    words = text.split()
    expected = [
      tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))
    ]
    assert len(hashes) == len(expected)
    for value, gram in zip(hashes, expected, strict=True):
      assert by_hash.setdefault(value, gram) == gram
      assert by_words.setdefault(gram, value) == value


def test_grams_know_the_order_of_words():
  found = rows(shingles.grams(hashed(['a b', 'b a', 'a a', 'b b']).words, 2))
  assert len({value for row in found for value in row}) == 4


def test_shingle_sets():
  texts = [
    'a b c d e a b c d e',  # 6 places, abcde twice
    'a b c d e',
    'a b c d',
    'a  B c\nd',
    'a b c, d',
    'a + b',
    'a - b',
    '',
  ]
  sets = rows(shingles.shingle_sets(hashed(texts)))
  assert [len(each) for each in sets] == [5, 1, 1, 1, 1, 1, 1, 1]
  assert sets[1][0] in sets[0]
  assert sets[2] == sets[3]
  assert len({sets[i][0] for i in (1, 2, 4, 5, 6, 7)}) == 6
  assert all(each == sorted(each) for each in sets)


def test_jaccard_is_that_of_sets(monkeypatch):
  texts = random_texts(vocabulary=2)  # 2^5 shingles, shared by many
  found = shingles.shingle_sets(hashed(texts))
  sets = [set(row) for row in rows(found)]
  a, b = np.indices((len(texts), len(texts))).reshape(2, -1)
  expected = [
    len(sets[i] & sets[j]) / len(sets[i] | sets[j])
    for i, j in zip(a, b, strict=True)
  ]
  assert len(set(expected)) > 50
  for limit in (2**20, 40):
    monkeypatch.setattr(shingles, '_PAIRED', limit)
    got = shingles.jaccard(found, a, found, b)
    np.testing.assert_array_equal(got, expected)
  none = np.zeros(0, int)
  assert len(shingles.jaccard(found, none, found, none)) == 0


def test_mix_is_splitmix64():
  # the first five numbers that SplitMix64 gives for the seed 1234567
  states = 1234567 + 0x9E3779B97F4A7C15 * np.arange(1, 6, dtype=np.uint64)
  assert shingles.mix(states).tolist() == [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
  ]


def test_hashes_are_the_same_everywhere():
  # `printf abc | b2sum -l 64` is d8bb14d833d59559, the lowest byte first; the
  # gram is as it was first: what was found may change when it does
  assert hashed(['abc']).words.values.tolist() == [0x5995D533D814BBD8]
  gram = shingles.grams(hashed(['a b c d e']).words, 5).values
  assert gram.tolist() == [0x4ED420ED579C2814]
