import hashlib
import pickle

import numpy as np
import pytest

from data import tokenizer, tokens


def _write(folder, texts, chosen):
  folder.mkdir()
  counts = tokens.write_shard(folder, texts, chosen)
  return counts, tokens.open_store([folder], [counts], tokens.id_type(chosen))


def test_store_by_hand(tmp_path):
  counts, store = _write(tmp_path / 'a', ['ab', 'é'], tokenizer.ByteTokenizer())
  first, second = store.documents()
  np.testing.assert_array_equal(first, [256, 97, 98])
  np.testing.assert_array_equal(second, [256, 195, 169])
  assert first.dtype == np.uint16
  assert (store.num_tokens, store.num_documents, store.num_bytes) == (6, 2, 4)
  content = b''.join(n.to_bytes(8, 'big') + b'%b' for n in (2, 2)) % (
    b'ab',
    'é'.encode(),
  )
  assert counts == {
    'documents': 2,
    'bytes': 4,
    'tokens': 6,
    'sha256': hashlib.sha256(content).hexdigest(),
  }


def test_many_documents_are_the_tokenizers_own(tmp_path, monkeypatch):
  monkeypatch.setattr(tokens, '_CHUNK_DOCUMENTS', 7)
  texts = [f'document {i} ' * (i % 5 + 1) for i in range(50)]
  bpe = tokenizer.train_bpe(texts, 270)
  told = []
  (tmp_path / 'x').mkdir()
  counts = tokens.write_shard(tmp_path / 'x', texts, bpe, told.append)
  store = tokens.open_store([tmp_path / 'x'], [counts], 'uint16')
  for text, document in zip(texts, store.documents(), strict=True):
    assert document[0] == bpe.separator_id
    np.testing.assert_array_equal(document[1:], bpe.encode(text))
  assert sum(told) == 50
  assert max(told) == 7


def test_large_vocabularies_take_four_bytes(tmp_path):
  class Large(tokenizer.ByteTokenizer):
    vocab_size = 2**16 + 1
    separator_id = 2**16

    def __init__(self):
      pass

  _, store = _write(tmp_path / 'x', ['a'], Large())
  (document,) = store.documents()
  np.testing.assert_array_equal(document, [2**16, 97])
  assert document.dtype == np.uint32


@pytest.mark.parametrize('record', [1, 3, 4, 4096])
def test_any_pieces_of_any_documents(make_store, monkeypatch, record):
  monkeypatch.setattr(tokens, '_RECORD', record)
  lengths = [5, 0, 1, 12, 3, 8]
  store = make_store(lengths)
  whole = list(store.documents())
  assert [len(document) for document in whole] == [n + 1 for n in lengths]
  draw = np.random.default_rng(record)
  for _ in range(30):
    documents = draw.integers(0, len(lengths), 4)
    starts = draw.integers(0, store.shard(0).lengths[documents])
    stops = draw.integers(starts + 1, store.shard(0).lengths[documents] + 1)
    expected = [
      whole[d][a:b] for d, a, b in zip(documents, starts, stops, strict=True)
    ]
    found = store.shard(0).read(documents, starts, stops)
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_shards_follow_each_other(make_store):
  one, two = make_store([3, 2, 4]), make_store([3], [2, 4])
  assert two.num_tokens_K == (4, 8)
  assert two.num_documents_K == (1, 2)
  assert two.num_tokens == one.num_tokens == 12
  for a, b in zip(one.documents(), two.documents(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_store_goes_to_another_process(make_store):
  store = make_store([3, 2])
  list(store.documents())  # opens it
  again = pickle.loads(pickle.dumps(store))
  np.testing.assert_array_equal(
    np.concatenate(list(again.documents())),
    np.concatenate(list(store.documents())),
  )


def test_an_error_of_the_tokenizer_is_raised(tmp_path):
  class Broken(tokenizer.ByteTokenizer):
    def encode_batch(self, texts):
      raise ValueError('no such byte')

  (tmp_path / 'x').mkdir()
  with pytest.raises(ValueError, match='no such byte'):
    tokens.write_shard(tmp_path / 'x', ['a', 'b'], Broken())
