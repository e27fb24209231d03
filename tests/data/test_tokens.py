import hashlib

import numpy as np

from data import tokenizer, tokens


def test_store_by_hand(tmp_path):
  folder = tmp_path / 'train'
  counts = tokens.write_tokens(
    folder, ['ab', 'é'], tokenizer.ByteTokenizer(), 'train'
  )
  store = tokens.open_tokens(folder, counts['bytes'])
  np.testing.assert_array_equal(store.tokens, [256, 97, 98, 256, 195, 169])
  np.testing.assert_array_equal(store.offsets, [0, 3, 6])
  assert store.tokens.dtype == np.uint16
  assert (store.num_tokens, store.num_documents, store.num_bytes) == (6, 2, 4)
  assert isinstance(store.tokens, np.memmap)
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
  monkeypatch.setattr(tokens, '_CHUNK', 7)
  texts = [f'document {i} ' * (i % 5 + 1) for i in range(50)]
  bpe = tokenizer.train_bpe(texts, 270)
  tokens.write_tokens(tmp_path / 'x', texts, bpe, 'x')
  store = tokens.open_tokens(tmp_path / 'x', 0)
  for i, text in enumerate(texts):
    document = store.tokens[store.offsets[i] : store.offsets[i + 1]]
    assert document[0] == bpe.separator_id
    np.testing.assert_array_equal(document[1:], bpe.encode(text))


def test_large_vocabularies_take_four_bytes(tmp_path):
  class Large(tokenizer.ByteTokenizer):
    vocab_size = 2**16 + 1
    separator_id = 2**16

  tokens.write_tokens(tmp_path / 'x', ['a'], Large(), 'x')
  store = tokens.open_tokens(tmp_path / 'x', 1)
  np.testing.assert_array_equal(store.tokens, [2**16, 97])
  assert store.tokens.dtype == np.uint32
