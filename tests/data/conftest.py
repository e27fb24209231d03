"""Stores of token ids that are told apart: a document's words are its ids."""

import dataclasses

import numpy as np
import pytest

from data import tokens

SEPARATOR = 0


@dataclasses.dataclass(frozen=True)
class Numbers:
  """A tokenizer of texts such as '17 4 5'."""

  vocab_size: int = 60_000
  separator_id: int = SEPARATOR

  def encode_batch(self, texts):
    return [np.array(text.split(), np.int32) for text in texts]


@pytest.fixture(scope='session')
def make_store(tmp_path_factory):
  """From lengths of documents, by shard, to a store of different ids."""

  def make(*shards, tokenizer=Numbers()):
    root = tmp_path_factory.mktemp('store')
    names = iter(range(1, tokenizer.vocab_size))
    folders, counts = [], []
    for number, lengths in enumerate(shards):
      texts = [' '.join(str(next(names)) for _ in range(n)) for n in lengths]
      folders.append(root / str(number))
      folders[-1].mkdir()
      counts.append(tokens.write_shard(folders[-1], texts, tokenizer))
    return tokens.open_store(folders, counts, tokens.id_type(tokenizer))

  return make
