import math

import numpy as np
import pytest

from data.audit.documents import cut
from data.audit.mentions import find_mentions, tokenize
from data.audit.representation import Representation, log_odds
from data.audit.terms import AXES


def test_log_odds_by_hand():
  # With priors 1 and 9: 11 of 110 against 21 of 110.
  expected = math.log(11 / 99) - math.log(21 / 89)
  expected /= math.sqrt(1 / 11 + 1 / 21)
  found = log_odds(np.array([10, 90]), np.array([20, 80]), np.array([1.0, 9.0]))
  assert found[0] == pytest.approx(expected)
  assert found[0] == pytest.approx(-2.0231, abs=1e-3)
  # Of two words one's gain is the other's loss.
  assert found[1] > 0


def test_equal_use_is_no_difference():
  counts, prior = np.array([5, 50, 500]), np.array([1.0, 10, 100])
  np.testing.assert_allclose(log_odds(counts, counts, prior), 0)


def test_mentions():
  texts = ('She saw a black man. Black', 'men, and she’s HERS: a man-servant')
  found = find_mentions(tokenize(texts))
  gender = {group: found['gender', group] for group in ('female', 'male')}
  assert gender['female'].terms == {'she': 2, 'hers': 1}
  assert gender['male'].terms == {'man': 1, 'men': 1}
  assert sorted(gender['female'].document_M.tolist()) == [0, 1, 1]
  # 'Black' and 'men' are in two documents: no 'black men'.
  assert found['race and ethnicity', 'black'].terms == {'black man': 1}


def test_around_stays_in_its_document():
  tokens = tokenize(('a b c she d e', 'f g h', 'she i'))
  mentions = find_mentions(tokens)['gender', 'female']
  near = mentions.around(tokens, 2)
  words = ['a', 'b', 'c', 'she', 'd', 'e', 'f', 'g', 'h', 'she', 'i']
  assert [w for w, n in zip(words, near, strict=True) if n] == [
    *('b', 'c', 'she', 'd', 'e', 'she', 'i')
  ]
  assert tokens.counts(near) == {
    **{'b': 1, 'c': 1, 'she': 2, 'd': 1, 'e': 1, 'i': 1}
  }


def planted():
  """Texts in which women nurse and men build, with words between."""
  filler = ' '.join(['this', 'that', 'then', 'there', 'those'] * 6)
  woman, man = 'she was nursing.', 'he was building.'
  return [f'{filler} {woman} {filler} {man} {filler}'] * 30


def test_planted_words_are_told():
  section = Representation()
  section.count(cut(planted()))
  groups = section.tree()['axes']['gender']
  assert groups['female']['mentions'] == groups['male']['mentions'] == 30
  assert groups['female']['share_of_axis'] == 0.5
  assert groups['female']['share_of_documents'] == 1
  assert groups['neither or both']['mentions'] == 0


def test_words_set_a_group_apart(monkeypatch):
  monkeypatch.setattr('data.audit.representation.COMMONEST', 0)
  section = Representation()
  section.count(cut(planted()))
  groups = section.tree()['axes']['gender']
  assert groups['female']['words'][0]['word'] == 'nursing'
  assert 'building' in [w['word'] for w in groups['male']['words']]
  assert 'nursing' not in [w['word'] for w in groups['male']['words']]


def test_section_adds_up():
  texts = [*planted(), 'An old man and a Muslim woman of Chinese descent.']
  whole, first, second = Representation(), Representation(), Representation()
  whole.count(cut(texts))
  first.count(cut(texts[:9]))
  second.count(cut(texts[9:]))
  first.add(second)
  assert first.tree() == whole.tree()
  axes = whole.tree()['axes']
  assert axes['age']['old']['terms'] == {'old man': 1}
  assert axes['religion']['islam']['documents'] == 1
  assert axes['nationality']['chinese']['mentions'] == 1


def test_memory_is_bounded(monkeypatch):
  monkeypatch.setattr('data.audit.representation.MOST_WORDS', 10)
  section = Representation()
  for chunk in range(20):
    other = Representation()
    words = ' '.join('she ' + chr(97 + chunk) + chr(97 + i) for i in range(20))
    other.count(cut([words]))
    section.add(other)
  assert len(section._all) <= 20 + 21
  assert section.tree()['axes']['gender']['female']['mentions'] == 400


def test_terms_can_be_found():
  for axis, groups in AXES.items():
    for group, terms in groups.items():
      for term in terms:
        assert term == term.lower() and term.count(' ') <= 1
        found = find_mentions(tokenize((f'x {term} x',)))
        assert term in found[axis, group].terms, term
      assert len(set(terms)) == len(terms), group
