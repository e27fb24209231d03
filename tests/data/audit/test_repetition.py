"""The n-gram shares against their definition, written out."""

import random
from collections import Counter

import numpy as np
import pytest

from data.audit import repetition
from data.audit.documents import cut


def by_definition(text):
  """All shares of one text, n-gram by n-gram."""
  words = text.split()
  total = sum(map(len, words))
  shares = {}
  for size in (*repetition.TOP_SIZES, *repetition.DUPLICATE_SIZES):
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    counts = Counter(grams)
    repeated = {gram for gram, count in counts.items() if count > 1}
    name = f'duplicate_{size}gram'
    if size in repetition.TOP_SIZES:
      name = f'top_{size}gram'
      # Counter keeps the order of first appearance among equal counts
      repeated &= {counts.most_common(1)[0][0]} if counts else set()
    covered = {
      i + offset
      for i, gram in enumerate(grams)
      if gram in repeated
      for offset in range(size)
    }
    shares[name] = sum(len(words[i]) for i in covered) / max(total, 1)
  return shares


def random_texts():
  draw = random.Random(0)
  texts = ['', 'one', 'a a', 'a a a a a a a a a a a a']
  for length in (3, 12, 40, 200, 1000):
    for vocabulary in (2, 5, 30):
      words = ['w' * draw.randint(1, 9) + str(i) for i in range(vocabulary)]
      texts.append(' '.join(draw.choices(words, k=length)))
  sentence = 'the quick brown fox jumps over the lazy dog near the old bridge '
  return [*texts, sentence * 5, sentence + 'and then ' + sentence]


def test_ngram_shares_are_as_defined():
  texts = random_texts()
  found = repetition.ngram_shares(cut(texts))
  for place, text in enumerate(texts):
    for name, share in by_definition(text).items():
      assert found[name][place] == pytest.approx(share), (name, text[:60])


def test_repeats_of_another_document_do_not_count():
  sentence = 'each of these words is here but once in any one document today'
  found = repetition.ngram_shares(cut([sentence] * 3))
  assert not any(share_P.any() for share_P in found.values())


def test_by_hand():
  # 2-gram 'ab cd' comes twice: 8 of the 14 letters.
  found = repetition.ngram_shares(cut(['ab cd efg ab cd hij']))
  np.testing.assert_allclose(found['top_2gram'], 8 / 14)
  np.testing.assert_allclose(found['top_3gram'], 0)


def test_duplicate_lines_and_paragraphs():
  ten, nine = 'ten chars.', 'other one'
  text = f'{ten}\n\n{nine}\n{ten}\n\n\n{ten}\n\n{nine}\n{ten}'
  documents = cut([text, '', 'one line'])
  # Of six lines three of ten characters and one of nine came before.
  np.testing.assert_allclose(
    repetition.duplicate_lines(documents), [4 / 6, 0, 0]
  )
  np.testing.assert_allclose(
    repetition.duplicate_line_characters(documents), [39 / 58, 0, 0]
  )
  # Paragraphs: 10, 20, 10 and 20 characters, each there twice.
  np.testing.assert_allclose(
    repetition.duplicate_paragraphs(documents), [2 / 4, 0, 0]
  )
  np.testing.assert_allclose(
    repetition.duplicate_paragraph_characters(documents), [30 / 60, 0, 0]
  )
