import dataclasses
import time

import numpy as np
import pytest

from configs.errors import UserError
from data import corpus, sources, tokens


def test_description(small_corpus, data_config):
  splits = small_corpus.description['splits']
  assert sum(counts['documents'] for counts in splits.values()) == 600
  for split, counts in splits.items():
    rows = sources.open_source(data_config, split)
    store = small_corpus.stores[split]
    assert len(rows) == counts['documents'] == store.num_documents
    assert sum(len(r['text'].encode()) for r in rows) == store.num_bytes
    assert store.num_tokens == counts['tokens']
    first = store.tokens[1 : store.offsets[1]]
    assert small_corpus.tokenizer.decode(first) == rows[0]['text']


def test_second_time_only_opens(small_corpus, data_config, monkeypatch):
  monkeypatch.setattr(corpus, '_build', None)
  start = time.monotonic()
  again = corpus.prepare(data_config)
  assert time.monotonic() - start < 0.5
  assert again.digest == small_corpus.digest
  assert again.description == small_corpus.description
  assert again.tokenizer.digest == small_corpus.tokenizer.digest


def test_elsewhere_it_is_the_same(small_corpus, data_config, tmp_path):
  fresh = dataclasses.replace(data_config, cache_dir=str(tmp_path))
  again = corpus.prepare(fresh)
  assert again.digest == small_corpus.digest
  for split, store in small_corpus.stores.items():
    np.testing.assert_array_equal(store.tokens, again.stores[split].tokens)


def test_text_and_tokenizer_change_the_digest(
  small_corpus, data_config, tmp_path, text_dir
):
  byte = corpus.prepare(dataclasses.replace(data_config, tokenizer='byte'))
  assert byte.tokenizer.vocab_size == 257
  for name in ('kitchen', 'garden'):
    content = (text_dir / f'{name}.jsonl').read_text()
    (tmp_path / f'{name}.jsonl').write_text(content)
  fewer = corpus.prepare(
    dataclasses.replace(data_config, source=f'files:{tmp_path}/*.jsonl')
  )
  assert len({small_corpus.digest, byte.digest, fewer.digest}) == 3


def test_interrupted_leaves_nothing(data_config, tmp_path, monkeypatch):
  config = dataclasses.replace(data_config, cache_dir=str(tmp_path))
  write = tokens.write_tokens

  def interrupted(folder, texts, chosen, name):
    counts = write(folder, texts, chosen, name)
    if name == 'validation':
      raise KeyboardInterrupt
    return counts

  monkeypatch.setattr(tokens, 'write_tokens', interrupted)
  with pytest.raises(KeyboardInterrupt):
    corpus.prepare(config)
  left = list((tmp_path / 'corpora').iterdir())
  assert [path.suffix for path in left] == ['.lock']
  monkeypatch.undo()
  assert corpus.prepare(config).stores['test'].num_documents > 0


def test_bad_source(data_config):
  with pytest.raises(UserError, match='matches no file'):
    corpus.prepare(dataclasses.replace(data_config, source='files:/no/*.txt'))


@pytest.mark.long
def test_default_corpus(tmp_path, data_config):
  config = dataclasses.replace(
    data_config,
    source='tfds:python_docs/docstrings',
    cache_dir=str(tmp_path),
    vocab_size=2048,
  )
  prepared = corpus.prepare(config)
  counts = prepared.description['splits']
  assert 9e6 < counts['train']['bytes'] < 2e7
  bytes_per_token = counts['test']['bytes'] / counts['test']['tokens']
  assert 2.4 < bytes_per_token < 3.2
  start = time.monotonic()
  assert corpus.prepare(config).digest == prepared.digest
  assert time.monotonic() - start < 0.5
