"""Gopher's and C4's statistics and rules, by hand and against C4's own code."""

import math
import time

import numpy as np
import pytest

from data.audit import c4, gopher, quality
from data.audit.documents import cut

PROSE = (
  'The house stood on a slight rise just on the edge of the village. It stood '
  'on its own and looked over a broad spread of farmland. Not a remarkable '
  'house by any means, it was about thirty years old, made of brick, and had '
  'four windows set in the front of a size and proportion which more or less '
  'exactly failed to please the eye.'
)


def only(statistic, text):
  (value,) = statistic(cut([text]))
  return value


def test_prose_passes_every_rule():
  assert quality.failed_rules(PROSE) == ()


@pytest.mark.parametrize(
  ('statistic', 'text', 'value'),
  [
    (gopher.words, 'one two  three\nfour', 4),
    (gopher.words, '', 0),
    (gopher.mean_word_length, 'a bcd ef', 2),
    (gopher.mean_word_length, '', 0),
    (gopher.hash_ratio, '# a #b c', 0.5),
    (gopher.ellipsis_ratio, 'so... and … on', 0.5),
    (gopher.bullet_lines, '- a\n\n  • b\nc\n* d', 0.75),
    (gopher.ellipsis_lines, 'more...\nand…  \nend.\nx', 0.5),
    (gopher.alphabetic_words, 'a1 22 -- b', 0.5),
    (gopher.alphabetic_words, 'слово 一 7', 2 / 3),
    (gopher.stop_words, 'The end of the day, to be', 4),
    (gopher.stop_words, 'the the THE', 1),
  ],
)
def test_gopher(statistic, text, value):
  assert only(statistic, text) == pytest.approx(value)


@pytest.mark.parametrize(
  ('rule', 'text'),
  [
    ('gopher_words', 'of the ' * 24 + 'one'),
    ('gopher_words', 'of the ' * 50_001),
    ('gopher_mean_word_length', 'a of ' * 50),
    ('gopher_mean_word_length', PROSE.replace(' ', '')),
    ('gopher_hash_ratio', PROSE + '#' * 8),
    ('gopher_ellipsis_ratio', PROSE.replace(' a ', ' ... a ... ') + '...' * 6),
    ('gopher_bullet_lines', '\n'.join(f'- {w}' for w in PROSE.split())),
    ('gopher_ellipsis_lines', PROSE.replace('. ', '...\n')),
    ('gopher_alphabetic_words', PROSE + ' 12' * 20),
    ('gopher_stop_words', 'Guten Tag, meine Damen und Herren! ' * 10),
    ('gopher_duplicate_lines', (PROSE + '\n') * 2),
    ('gopher_duplicate_paragraphs', (PROSE + '\n\n') * 2),
    ('gopher_duplicate_10gram', PROSE * 2),
    ('c4_sentences', PROSE.replace('.', ',')),
    ('c4_curly_brackets', PROSE + ' {'),
    ('c4_lorem_ipsum', PROSE + ' Lorem ipsum dolor.'),
  ],
)
def test_rule_drops(rule, text):
  assert rule in quality.failed_rules(text)


def test_limits_are_kept():
  rule = quality.Rule(quality.GOPHER, 'words', 50, 100)
  np.testing.assert_array_equal(
    rule.failed(np.array([49, 50, 100, 101])), [True, False, False, True]
  )


def test_published_thresholds():
  """Rae et al. 2021, table A1."""
  published = {
    'duplicate_lines': 0.30,
    'duplicate_paragraphs': 0.30,
    'duplicate_line_characters': 0.20,
    'duplicate_paragraph_characters': 0.20,
    'top_2gram': 0.20,
    'top_3gram': 0.18,
    'top_4gram': 0.16,
  } | {f'duplicate_{n}gram': 0.15 - 0.01 * (n - 5) for n in range(5, 11)}
  found = {
    rule.statistic: rule.most
    for rule in quality.RULES.values()
    if rule.family == quality.REPETITION
  }
  assert found == pytest.approx(published)


def test_every_rule_has_its_statistic():
  measured = quality.measure(cut([PROSE, '']))
  assert {r.statistic for r in quality.RULES.values()} <= set(measured)
  assert {r.family for r in quality.RULES.values()} == set(quality.FAMILIES)
  for value_P in measured.values():
    assert value_P.shape == (2,)
    assert np.isfinite(value_P).all()


def test_documents_of_a_chunk_are_apart():
  texts = [PROSE, 'short', PROSE * 2, '', '- a\n- b']
  together = quality.failures(cut(texts))
  for place, text in enumerate(texts):
    names = tuple(
      name for name, failed_P in together.items() if failed_P[place]
    )
    assert names == quality.failed_rules(text)


def test_c4_keeps_the_lines_that_its_own_code_keeps(monkeypatch):
  theirs = pytest.importorskip('tensorflow_datasets.text.c4_utils')
  monkeypatch.setattr(theirs, '_get_sentences', lambda line: [line] * 3)
  lines = [
    'A line that is long enough to stay.',
    'Too short, this.',
    'No mark at the end of this line',
    'It trails off in the very end...',
    'Does this one end with a question?',
    'He said that it was "the end of it."',
    'Please turn on JavaScript to see this page.',
    'By going on you accept our privacy policy here.',
    'Rome was not built in a single day.[3]',
    'Rome was not built in a single day [citation needed]',
    'A word of ' + 'x' * 1001 + ' makes no line of prose.',
  ]
  page = theirs.PageFeatures(text='\n'.join(lines))
  (cleaned,) = theirs.get_clean_page_fn()(page, counter_inc_fn=lambda *_: None)
  assert '\n'.join(c4.kept_lines(lines)) == cleaned.text


@pytest.mark.parametrize(
  ('line', 'number'),
  [
    ('One. Two!? Three?', 3),
    ('Well... no.”) So', 2),
    ('No mark', 1),
    ('Pi is 3.14.', 1),
    ('"A." B', 1),
  ],
)
def test_sentences(line, number):
  assert c4.count_sentences(line) == number


@pytest.mark.parametrize(
  'line', ['.' * 120_000, '.)' * 60_000, '?' + ')' * 120_000]
)
def test_sentences_take_time_with_the_text_alone(line):
  began = time.process_time()
  assert c4.count_sentences(line + 'x') == 1
  assert time.process_time() - began < 1


def test_section_adds_up():
  texts = [PROSE, 'short', PROSE * 2]
  whole, first, second = quality.Quality(), quality.Quality(), quality.Quality()
  whole.count(cut(texts))
  first.count(cut(texts[:1]))
  second.count(cut(texts[1:]))
  first.add(second)
  assert first.tree() == whole.tree()
  dropped = whole.tree()['rules']['gopher_words']
  assert (dropped['documents'], dropped['bytes']) == (1, 5)
  assert dropped['share_of_documents'] == pytest.approx(1 / 3)
  assert dropped['least'] == 50
  assert whole.tree()['rules']['gopher_hash_ratio']['least'] is None
  assert whole.tree()['families']['gopher']['documents'] == 1
  assert math.isclose(
    whole.tree()['statistics']['words']['max'], 2 * len(PROSE.split()) - 1
  )
