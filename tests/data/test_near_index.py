import tempfile

import numpy as np
import pytest

from configs.errors import UserError
from data import near_index, shingles
from data.near_index import NearIndex


def words_of(rng, count):
  return [f'w{i}' for i in rng.integers(0, 10**6, count)]


def shingles_of(words):
  return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def similarity(first, second):
  a, b = shingles_of(first.split()), shingles_of(second.split())
  return len(a & b) / len(a | b)


def planted(seed=0, count=400):
  """Texts, and a variant of each with a few words at its end replaced."""
  rng = np.random.Generator(np.random.PCG64(seed))
  texts, variants = [], []
  for _ in range(count):
    words = words_of(rng, 94)  # 90 shingles
    tail = int(rng.integers(0, 20))
    texts.append(' '.join(words))
    variants.append(' '.join(words[: 94 - tail] + words_of(rng, tail)))
  return texts, variants


def as_dict(matches):
  keys = zip(matches.query.tolist(), matches.indexed.tolist(), strict=True)
  return dict(zip(keys, matches.jaccard.tolist(), strict=True))


def test_planted_near_duplicates_are_found_and_nothing_else():
  texts, variants = planted()
  expected = {
    (i, i): similarity(*pair)
    for i, pair in enumerate(zip(texts, variants, strict=True))
  }
  near = {key for key, value in expected.items() if value >= 0.8}
  assert 150 < len(near) < 250  # ten replaced words of 94: 80 / 100
  found = as_dict(NearIndex(texts).query(variants))
  assert found.keys() <= near
  assert len(found) >= 0.95 * len(near)
  assert found == {key: expected[key] for key in found}


def test_recall_at_the_threshold():
  rng = np.random.Generator(np.random.PCG64(1))
  texts = [words_of(rng, 94) for _ in range(400)]
  variants = [words[:84] + words_of(rng, 10) for words in texts]
  assert similarity(' '.join(texts[0]), ' '.join(variants[0])) == 0.8
  index = NearIndex(map(' '.join, texts))
  found = as_dict(index.query(map(' '.join, variants)))
  assert len(found) >= 390  # 99.8% of 400 are expected
  assert set(found.values()) == {0.8}


@pytest.mark.parametrize('size', [2, 4, 5, 6, 12, 200])
def test_shuffled_words_are_another_text(size):
  rng = np.random.Generator(np.random.PCG64(size))
  texts = [words_of(rng, size) for _ in range(200)]
  shuffled = [' '.join([*words[1:], words[0]]) for words in texts]
  if size > 12:
    shuffled = [' '.join(rng.permutation(words)) for words in texts]
  index = NearIndex([' '.join(words) for words in texts])
  low = [s for s, t in zip(shuffled, texts, strict=True) if s != ' '.join(t)]
  assert len(low) > 150
  assert len(index.query(low).query) == 0
  assert len(index.query([' '.join(words) for words in texts]).query) == 200


def test_short_texts_match_themselves_only():
  texts = ['a + b', 'a - b', 'Same as a < b.', '', '--', 'The whole', 'word']
  found = as_dict(
    NearIndex(texts).query(['A +\n b', 'Same as a > b.', ' ', 'whole', 'WORD'])
  )
  assert found == {(0, 0): 1, (2, 3): 1, (4, 6): 1}


def test_on_disk_as_in_memory(monkeypatch, tmp_path):
  texts, variants = planted(count=60)
  texts += texts[:20]  # several texts of one key
  in_memory = NearIndex(texts)
  expected = as_dict(in_memory.query(variants))
  assert not in_memory.on_disk
  assert len(expected) > 30
  monkeypatch.setattr(shingles, '_CHUNK', 2000)  # many chunks
  for memory in (0, 20_000, 40_000):  # at once, and in the midst of it
    index = NearIndex(iter(texts), memory=memory, folder=tmp_path)
    assert index.on_disk
    assert as_dict(index.query(variants)) == expected
    for band, other in zip(index.bands, in_memory.bands, strict=True):
      np.testing.assert_array_equal(band.texts, other.texts)
  assert list(tmp_path.iterdir()) == []


def test_files_are_in_the_folder(monkeypatch, tmp_path):
  folders = []
  make = tempfile.TemporaryFile
  monkeypatch.setattr(
    near_index.tempfile,
    'TemporaryFile',
    lambda dir: folders.append(dir) or make(dir=dir),
  )
  NearIndex(['some text'], folder=tmp_path)
  assert not folders
  NearIndex(['some text'], memory=0, folder=tmp_path)
  assert set(folders) == {tmp_path}


def test_queries_count_from_the_first_text(monkeypatch):
  monkeypatch.setattr(shingles, '_CHUNK', 30)
  texts = [f'this is the text number {i} of them' for i in range(20)]
  found = NearIndex(texts).query(iter(texts))
  np.testing.assert_array_equal(found.query, range(20))
  np.testing.assert_array_equal(found.indexed, range(20))


def test_equal_sets_are_one_candidate(monkeypatch):
  compared = []

  def counted(a, index_a, b, index_b):
    compared.append(len(index_a))
    return shingles.jaccard(a, index_a, b, index_b)

  monkeypatch.setattr(near_index, 'jaccard', counted)
  index = NearIndex(['another one', *['Yes, it is.', 'yes,  it is.'] * 500])
  assert index.first_T.tolist() == [0] + [1] * 1000
  found = as_dict(index.query(['yes, it is.', 'yes it is']))
  assert found == {(0, 1): 1}
  assert sum(compared) == 1


def test_candidates_are_bounded_and_counted(monkeypatch):
  texts, _ = planted(count=1)
  words = texts[0].split()
  texts = [' '.join([*words[:-1], f'v{i}']) for i in range(50)]  # 89 / 91
  whole = NearIndex(texts)
  expected = as_dict(whole.query(texts))
  assert len(expected) == 50 * 50
  assert whole.num_left_out == 0
  for limit in (1, 70, 2**20):  # in parts of any size
    monkeypatch.setattr(near_index, '_PAIRED', limit)
    assert as_dict(NearIndex(texts).query(texts)) == expected
  monkeypatch.setattr(near_index, 'CANDIDATES', 10)
  index = NearIndex(texts)
  found = as_dict(index.query(texts))
  assert found.keys() < expected.keys()
  assert {(i, j) for i in range(50) for j in range(5)} <= found.keys()
  left_out = 0
  for band in whole.bands:
    _, counts = np.unique(band.keys, return_counts=True)
    left_out += int((counts * np.maximum(counts - 10, 0)).sum())
  assert index.num_left_out == left_out > 0


def test_parts_are_bounded(monkeypatch):
  monkeypatch.setattr(near_index, '_PAIRED', 40)
  texts = [f'this is the text number {i} of them' for i in range(20)]
  (chunk,) = shingles.chunks(texts)
  parts = list(NearIndex(texts).matches(shingles.shingle_sets(chunk)))
  assert len(parts) >= 20 * 21 / 40
  assert np.concatenate([p.query for p in parts]).tolist() == list(range(20))


def test_nothing_to_find():
  assert len(NearIndex([]).query(['some text']).query) == 0
  assert len(NearIndex(['some text']).query([]).query) == 0
  with pytest.raises(UserError, match=r'threshold = 8'):
    NearIndex([], threshold=8)
