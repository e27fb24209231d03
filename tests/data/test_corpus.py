import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data import corpus, tokens
from data.config import FilterConfig
from data.interventions import InterventionConfig


def test_description(small_corpus, data_config):
  splits = small_corpus.description['splits']
  assert sum(counts['documents'] for counts in splits.values()) == 600
  (part,) = small_corpus.description['sources']
  assert part['source'] == data_config.source
  assert part['splits'] == splits
  for split, counts in splits.items():
    rows = small_corpus.documents(split)
    (store,) = small_corpus.stores[split]
    assert len(rows) == counts['documents'] == store.num_documents
    assert sum(len(r['text'].encode()) for r in rows) == store.num_bytes
    assert store.num_tokens == counts['tokens']
    first = next(store.documents())
    assert small_corpus.tokenizer.decode(first) == rows[0]['text']
  told = small_corpus.description['tokenizer']['bytes_per_token']
  assert told['test'] == splits['test']['bytes'] / splits['test']['tokens']


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
  for split in small_corpus.stores:
    np.testing.assert_array_equal(_ids(small_corpus, split), _ids(again, split))


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


@pytest.fixture
def many_shards(data_config, tmp_path, monkeypatch):
  """A config whose train split takes some ten shards, in an empty cache."""
  monkeypatch.setattr(corpus, '_SHARD_BYTES', 6000)
  return dataclasses.replace(data_config, cache_dir=str(tmp_path))


def _ids(prepared, split):
  return np.concatenate(
    [d for store in prepared.stores[split] for d in store.documents()]
  )


def test_shards_change_nothing_but_where_tokens_lie(small_corpus, many_shards):
  prepared = corpus.prepare(many_shards)
  (store,) = prepared.stores['train']
  assert len(store.folders) > 5
  for split in ('train', 'validation', 'test'):
    np.testing.assert_array_equal(
      _ids(prepared, split), _ids(small_corpus, split)
    )


def test_interrupted_goes_on_where_it_stopped(many_shards, monkeypatch):
  written = []
  write = tokens.write_shard

  def interrupted(folder, texts, chosen, tell):
    if len(written) == 3:
      raise KeyboardInterrupt
    written.append(folder)
    return write(folder, texts, chosen, tell)

  monkeypatch.setattr(tokens, 'write_shard', interrupted)
  with pytest.raises(KeyboardInterrupt):
    corpus.prepare(many_shards)
  root = Path(many_shards.cache_dir)
  assert not list(root.glob('corpora/*/meta.json'))
  assert len(list(root.glob('corpora/*/shards/*/*/meta.json'))) == 3
  assert not list(root.rglob('*.partial'))

  def only_new(folder, texts, chosen, tell):
    written.append(folder)
    return write(folder, texts, chosen, tell)

  monkeypatch.setattr(tokens, 'write_shard', only_new)
  monkeypatch.setattr(corpus.tokenizer, 'train_bpe', None)  # is there already
  prepared = corpus.prepare(many_shards)
  shards = sum(
    len(store.folders)
    for stores in prepared.stores.values()
    for store in stores
  )
  assert len(written) == shards


def test_processes_prepare_the_same(many_shards, tmp_path):
  alone = corpus.prepare(many_shards)
  two = corpus.prepare(
    dataclasses.replace(
      many_shards, cache_dir=str(tmp_path / 'two'), num_workers=2
    )
  )
  assert two.digest == alone.digest
  np.testing.assert_array_equal(_ids(two, 'train'), _ids(alone, 'train'))


def test_filters_and_interventions_are_told(data_config, text_dir, tmp_path):
  lines = (text_dir / 'garden.jsonl').read_text()
  (tmp_path / 'twice.jsonl').write_text(lines + lines)
  config = dataclasses.replace(
    data_config,
    source=f'files:{tmp_path}/*.jsonl',
    filters=FilterConfig(exact_duplicates=True, decontaminate='evals'),
    interventions=InterventionConfig(canaries=2, canary_times=(3,)),
  )
  prepared = corpus.prepare(config)
  reports = {
    (told['filter'], told['split']): told
    for told in prepared.description['filters']
  }
  exact = reports['exact_duplicates', 'train']
  assert exact['after'] < exact['before']
  # each line stands twice: what is in train leaves the other splits
  for split in ('validation', 'test'):
    told = reports['decontaminate', split]
    texts = {row['text'] for row in prepared.documents(split)}
    assert told['after'] == len(prepared.documents(split)) < told['before']
    assert not texts & {row['text'] for row in prepared.documents('train')}
  (change,) = prepared.description['interventions']
  assert change['documents_after'] == exact['after'] + 6
  train = prepared.stores['train'][0]
  assert train.num_documents == exact['after'] + 6
  json.dumps(prepared.description)


def test_filters_can_leave_nothing(data_config, tmp_path):
  for name in ('a', 'b'):
    (tmp_path / f'{name}.jsonl').write_text(
      ''.join(
        json.dumps({'text': f'the same {i % 2}'}) + '\n' for i in range(99)
      )
    )
  config = dataclasses.replace(
    data_config,
    source=f'files:{tmp_path}/*.jsonl',
    filters=FilterConfig(decontaminate='evals'),
  )
  with pytest.raises(UserError, match='no document left in its validation'):
    corpus.prepare(config)


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
