import json

import numpy as np

from data.audit import report, run, sharing
from data.audit.texts import Texts, spread

WORDS = ('anchor', 'boat', 'gull', 'harbour', 'mast', 'rope', 'sail', 'tide')


def _text(seed, count=60):
  draw = np.random.default_rng(seed)
  return ' '.join(
    f'{draw.choice(WORDS)}{draw.integers(1000)}' for _ in range(count)
  )


def _rows(*texts):
  return [{'text': text} for text in texts]


def _texts(*texts, sample=0):
  return Texts('some', {'a': _rows(*texts)}, sample)


def _near(text, place=30):
  return text.replace(text.split()[place], 'other')


def test_texts_of_several_sources_are_read_on_demand():
  texts = Texts('some', {'a': _rows(*'uvwx'), 'b': _rows(*'yz')}, sample=2)
  assert list(texts) == list(texts) == ['u', 'w', 'y', 'z']
  assert texts[-1] == 'z' and texts[1:3] == ['w', 'y']
  assert texts.num_documents == 6
  assert [texts.origin(i) for i in range(4)] == [
    *(('a', 0), ('a', 2), ('b', 0), ('b', 1))
  ]


def test_spread():
  assert list(spread(1200, 4)) == [0, 300, 600, 900]
  assert list(spread(3, 0)) == list(spread(3, 5)) == [0, 1, 2]


def test_repeats_are_counted_and_shown():
  train = _texts(_text(0), _text(1), _text(0), _near(_text(1)), _text(2))
  found = sharing.repeats(train)
  assert found['documents'] == found['documents_read'] == 5
  assert (found['equal'], found['near']) == (1, 1)
  (example,) = found['examples']  # of those that are not equal
  text = {'source': 'a', 'index': 3, 'beginning': f'{_near(_text(1))[:200]}…'}
  assert example['text'] == text
  assert example['earlier']['index'] == 1
  # a word is in 5 of the 56 shingles of either
  assert np.isclose(example['jaccard'], 51 / 61)


def test_pairs_that_only_others_link_are_not_shown():
  first, middle = _text(0), _near(_text(0), 15)
  last = _near(middle, 45)  # shares 46 shingles of 66 with the first
  found = sharing.repeats(_texts(first, last, middle))
  assert found['near'] == 2
  assert found['examples'] == []


def test_repeats_of_a_sample():
  train = _texts(*(_text(i // 2) for i in range(8)), sample=4)
  found = sharing.repeats(train)
  assert (found['documents'], found['documents_read']) == (8, 4)
  assert found['equal'] == 0


def test_evaluation_sets_are_told_apart():
  train = Texts('train', {'a': _rows(_text(0)), 'b': _rows(_text(1), _text(2))})
  leaky = Texts('leaky', {'of c': _rows(_text(8), _near(_text(2)))})
  found = sharing.contamination(
    train, {'clean': _texts(_text(7)), 'leaky': leaky}
  )
  counts = {told['name']: told['num_contaminated'] for told in found['sets']}
  assert counts == {'clean': 0, 'leaky': 1}
  (example,) = found['sets'][1]['examples']
  assert example['train'] == {
    'source': 'b',
    'index': 1,
    'beginning': f'{_text(2)[:200]}…',
  }
  assert example['text']['source'] == 'of c'
  assert example['text']['index'] == 1


def test_examples_show_nothing_personal():
  shared = f'{_text(0, 12)} keeper@lights.org {_text(1)}'
  found = sharing.contamination(
    _texts(f'{shared} {_text(2, 20)}'), {'set': _texts(shared)}
  )
  (example,) = found['sets'][0]['examples']
  assert '<EMAIL>' in example['text']['beginning']
  assert 'lights' not in json.dumps(example)


def test_sections_of_the_page():
  text, rest = _text(0), _text(3)
  train = _texts(text, text, f'<b> {_near(text)}', f'{rest} {_text(4)}')
  page = report.page(
    {
      'sources': {'a': run.audit({'train': _rows(_text(0))}, {})},
      'duplicates': sharing.repeats(train),
      'contamination': sharing.contamination(
        train, {'test of <c>': _texts(rest, _near(_text(0), 20), 'short')}
      ),
    }
  )
  told = ' '.join(page.split())
  assert '<strong>1</strong> of 4 documents (25.0%) equal an earlier' in told
  assert '<strong>1</strong> more (25.0%) are near one' in told
  assert '<strong>2</strong> of 3 evaluation texts (66.7%)' in told
  assert f'<q>{" ".join(rest.split()[:13])}</q>' in told
  assert 'a, document 2' in told and 'test of &lt;c&gt;' in told
  assert '&lt;b&gt; ' in told and '<b> ' not in told
  assert 'undercounted' not in told


def test_sections_of_a_sample_say_so():
  train = _texts(*map(_text, range(6)), sample=3)
  page = report.page(
    {
      'sources': {'a': run.audit({'train': _rows(_text(0))}, {})},
      'duplicates': sharing.repeats(train),
      'contamination': sharing.contamination(train, {'x': _texts(_text(9))}),
    }
  )
  told = ' '.join(page.split())
  assert told.count('of 3 of 6 documents to train on') == 2
  assert told.count('undercounted') == 2
