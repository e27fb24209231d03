import collections
import copy
import itertools
import json
import re
import tracemalloc

import numpy as np
import pytest

from configs import tree
from configs.errors import UserError
from data import interventions
from data.interventions import InterventionConfig
from data.rows import Rows

TOPICS = ('kitchen', 'harbour', 'garden')
SIZE = 3000


def _row(index):
  topic = TOPICS[index % 3]
  words = ' '.join(f'word{index * 7 % m}' for m in (11, 13, 17, 19))
  return {'text': f'{index}: {words}\nby  {index}\n{topic}', 'library': topic}


ROWS = [_row(index) for index in range(SIZE)]
NUMBER = re.compile(r'\d+')
EVERYTHING = {
  'label_noise': 0.5,
  'label_field': 'library',
  'corrupt_share': 1.0,
  'duplicate_share': 1.0,
  'duplicate_times': 2,
}


def _config(**keys):
  config = InterventionConfig(**keys)
  config.validate()
  return config


def _apply(rows=ROWS, **keys):
  """The changed rows as a list, and the record."""
  changed, record = interventions.apply(_config(**keys), rows)
  assert len(changed) == record['documents_after']
  assert record == json.loads(json.dumps(record))
  return list(changed), record


def _binomial(count, trials, share):
  """Within 5 standard deviations."""
  return (
    abs(count - trials * share) <= 5 * (trials * share * (1 - share)) ** 0.5
  )


# for each change: what is chosen at some share, by number of document
def _dropped(share, **keys):
  changed, _ = _apply(
    drop_field='library', drop_value='garden', drop_share=share, **keys
  )
  kept = {row['text'] for row in changed}
  return {i for i, row in enumerate(ROWS) if row['text'] not in kept}


def _relabelled(share, **keys):
  changed, _ = _apply(label_field='library', label_noise=share, **keys)
  return {i for i, row in enumerate(changed) if row['library'] != TOPICS[i % 3]}


def _corrupted(share, **keys):
  changed, _ = _apply(corrupt_share=share, **keys)
  return {i for i, row in enumerate(changed) if row != ROWS[i]}


def _repeated(share, **keys):
  changed, _ = _apply(duplicate_share=share, duplicate_times=2, **keys)
  counts = collections.Counter(row['text'] for row in changed)
  return {i for i, row in enumerate(ROWS) if counts[row['text']] == 2}


CHANGES = [
  (_dropped, SIZE // 3),
  (_relabelled, SIZE),
  (_corrupted, SIZE),
  (_repeated, SIZE),
]


@pytest.mark.parametrize(('change', 'trials'), CHANGES)
def test_share_nested_and_seeded(change, trials):
  few, more, every = (change(share) for share in (0.1, 0.4, 1.0))
  assert _binomial(len(few), trials, 0.1)
  assert _binomial(len(more), trials, 0.4)
  assert len(every) > 0.97 * trials  # a shuffle may leave words in place
  assert few < more < every
  assert change(0.1) == few
  other = change(0.1, seed=1)
  assert _binomial(len(other), trials, 0.1)
  assert _binomial(len(few & other), trials, 0.01)


def test_changes_choose_apart():
  """What one chooses says nothing of what another does."""
  chosen = [change(0.3) for change, _ in CHANGES[1:]]
  for one, other in itertools.pairwise(chosen):
    assert _binomial(len(one & other), SIZE, 0.09)


def test_more_documents_change_no_choice():
  keys = {'corrupt_share': 0.2, 'label_field': 'library', 'label_noise': 0.2}
  whole, _ = _apply(**keys)
  part, _ = _apply(ROWS[:1000], **keys)
  assert part == whole[:1000]


def test_nothing_asked():
  for keys in (
    {},
    {'seed': 5, 'label_field': 'library', 'drop_field': 'library'},
    {'duplicate_share': 0.5},  # once each
    {'duplicate_times': 5},  # of none
  ):
    changed, record = interventions.apply(_config(**keys), ROWS)
    assert changed is ROWS
    assert record['documents_before'] == record['documents_after'] == SIZE
    assert record['digest'] == ''
    assert json.loads(json.dumps(record)) == record


def test_source_stays_as_it_was():
  rows = copy.deepcopy(ROWS)
  _apply(rows, canaries=4, **EVERYTHING)
  assert rows == ROWS


def test_drop():
  changed, record = _apply(
    drop_field='library', drop_value='garden', drop_share=0.25
  )
  counts = collections.Counter(row['library'] for row in changed)
  assert counts['kitchen'] == counts['harbour'] == SIZE // 3
  assert record['documents_matching'] == SIZE // 3
  assert record['drop']['documents'] == SIZE // 3 - counts['garden']
  order = [int(NUMBER.match(row['text'])[0]) for row in changed]
  assert order == sorted(order)
  example = record['drop']['examples'][0]
  assert example['before'] == ROWS[example['document']]['text']
  assert 'garden' in example['before']


def test_drop_compares_as_text():
  rows = [{'text': 'a', 'stars': 1}, {'text': 'b', 'stars': np.int64(5)}]
  keys = {'drop_field': 'stars', 'drop_value': '5', 'drop_share': 1.0}
  changed, _ = _apply(rows, duplicate_share=1.0, duplicate_times=2, **keys)
  assert changed == [rows[0], rows[0]]  # what is left out is not repeated


def test_label_noise():
  changed, record = _apply(label_field='library', label_noise=0.5)
  noisy = [
    (old, new)
    for old, new in zip(ROWS, changed, strict=True)
    if old['library'] != new['library']
  ]
  assert len(noisy) == record['label_noise']['documents']
  assert _binomial(len(noisy), SIZE, 0.5)
  pairs = collections.Counter((o['library'], n['library']) for o, n in noisy)
  assert len(pairs) == 6
  for count in pairs.values():  # each of the other two is as likely
    assert _binomial(count, len(noisy), 1 / 6)
  for old, new in noisy:
    # where the text holds the label as a line, it goes with it
    *lines, label = new['text'].split('\n')
    assert label == new['library']
    assert lines == old['text'].split('\n')[:-1]
  example = record['label_noise']['examples'][0]
  index = example['document']
  assert example['before'] == ROWS[index]['library']
  assert example['after'] == changed[index]['library']


def test_labels_of_other_types_and_missing_ones():
  rows = [
    {'text': '1 of 10\n1', 'label': 1},
    {'text': 'none'},
    {'text': 'empty\n\nline', 'label': ''},
    {'text': '1\n2 and 1', 'label': 2},
  ]
  changed, record = _apply(rows, label_field='label', label_noise=1.0)
  assert record['label_noise']['documents'] == 3
  assert changed[1] == rows[1]
  assert changed[0]['label'] in ('', 2)
  assert changed[0]['text'] == f'1 of 10\n{changed[0]["label"]}'
  assert changed[2]['label'] in (1, 2)
  assert changed[2]['text'] == rows[2]['text']
  assert changed[3]['text'] == rows[3]['text']


def test_corrupt_shuffles_words_and_nothing_else():
  rows = [{'text': f'  a{i} b{i}\n\tc{i}  d{i} ', 'x': i} for i in range(2000)]
  changed, record = _apply(rows, corrupt_share=1.0)
  assert record['corrupt']['documents'] == 2000
  orders = collections.Counter()
  for old, new in zip(rows, changed, strict=True):
    assert new['x'] == old['x']
    assert sorted(new['text'].split()) == sorted(old['text'].split())
    assert re.findall(r'\s+', new['text']) == ['  ', ' ', '\n\t', '  ', ' ']
    orders[''.join(word[0] for word in new['text'].split())] += 1
  assert len(orders) == 24
  for count in orders.values():  # every order is as likely
    assert _binomial(count, 2000, 1 / 24)
  example = record['corrupt']['examples'][0]
  assert example['before'] == rows[example['document']]['text']
  assert example['after'] == changed[example['document']]['text']
  rows = [{'text': text} for text in ('', ' \n', 'one')]
  assert _apply(rows, corrupt_share=1.0)[0] == rows


def test_duplicates():
  changed, record = _apply(duplicate_share=0.2, duplicate_times=4)
  counts = collections.Counter(row['text'] for row in changed)
  assert set(counts.values()) == {1, 4}
  assert len(counts) == SIZE
  repeated = sum(count == 4 for count in counts.values())
  assert record['duplicate']['documents'] == repeated
  assert record['documents_after'] == SIZE + 3 * repeated
  once = [row for row in changed if counts[row['text']] == 1]
  assert once == [row for row in ROWS if counts[row['text']] == 1]


def test_copies_lie_among_the_others():
  changed, _ = _apply(duplicate_share=1.0, duplicate_times=2, canaries=900)
  last = {
    row['text']: place / len(changed) for place, row in enumerate(changed)
  }
  # documents of the first third: where they are later, there are copies
  copies = [last[row['text']] for row in ROWS[: SIZE // 3]]
  canaries = [place for text, place in last.items() if 'The random' in text]
  for places, first in ((copies, 2), (canaries, 0)):
    for count in np.histogram(places, 6, (0, 1))[0][first:]:
      assert _binomial(count, len(places), 1 / 6)


def test_copies_are_of_the_changed_document():
  changed, _ = _apply(**EVERYTHING)
  counts = collections.Counter(json.dumps(row) for row in changed)
  assert set(counts.values()) == {2}


def test_canaries():
  changed, record = _apply(canaries=5, canary_times=(1, 10, 100))
  texts = interventions.canary_texts(_config(canaries=5))
  assert len(set(texts)) == 5
  for text in texts:
    assert re.fullmatch(r'The random number is \d{9}', text)
  counts = collections.Counter(
    row['text'] for row in changed if row['text'] in texts
  )
  assert [counts[text] for text in texts] == [1, 10, 100, 1, 10]
  assert record['canaries'] == [
    {'text': text, 'times': counts[text]} for text in texts
  ]
  assert record['documents_after'] == SIZE + 122


def test_canaries_are_found_again():
  few, many = (
    interventions.canary_texts(_config(canaries=n)) for n in (10, 1000)
  )
  assert many[:10] == few
  other = interventions.canary_texts(_config(canaries=10, seed=1))
  assert not set(few) & set(other)
  assert interventions.canary_texts(_config()) == []
  # golden: checkpoints of before hold these
  assert few[:2] == [
    'The random number is 860363180',
    'The random number is 159854883',
  ]


def test_reference_canaries():
  config = _config(canaries=500)
  reference = interventions.reference_canaries(config, 2000)
  assert len(set(reference)) == 2000
  assert not set(reference) & set(interventions.canary_texts(config))
  assert interventions.reference_canaries(config, 20) == reference[:20]
  # drawn from the whole space as the canaries are: leading digits are uniform
  digits = collections.Counter(
    text.removeprefix(interventions.CANARY_PREFIX)[0] for text in reference
  )
  assert len(digits) == 10
  for count in digits.values():
    assert _binomial(count, 2000, 0.1)


def test_references_step_aside(monkeypatch):
  """In a space of 30 numbers, 10 canaries leave 20."""
  monkeypatch.setattr(interventions, 'CANARY_SPACE', 30)
  config = _config(canaries=10)
  reference = interventions.reference_canaries(config, 20)
  assert len({*reference, *interventions.canary_texts(config)}) == 30


def test_digest():
  asked = {'corrupt_share': 0.1, 'canaries': 2}
  _, record = _apply(**asked)
  assert _apply(**asked)[1] == record
  others = (
    {'seed': 1},
    {'corrupt_share': 0.2},
    {'canaries': 3},
    {'duplicate_share': 0.1, 'duplicate_times': 2},
    {'drop_field': 'library', 'drop_value': 'garden', 'drop_share': 0.1},
    {'label_field': 'library', 'label_noise': 0.1},
  )
  digests = {_apply(**asked | other)[1]['digest'] for other in others}
  assert len(digests | {record['digest']}) == 7


def test_record_keeps_what_was_asked_and_short_examples():
  rows = [{'text': f'{i} ' + 'long ' * 1000} for i in range(10)]
  _, record = _apply(rows, corrupt_share=1.0)
  asked = tree.to_dataclass(InterventionConfig, record['asked'])
  assert asked == InterventionConfig(corrupt_share=1.0)
  examples = record['corrupt']['examples']
  assert len(examples) == 3
  assert all(len(e['before']) == len(e['after']) == 200 for e in examples)


def test_no_text_in_memory():
  """Ten bytes and some for each document, whose text is 10 kB."""
  size = 20_000
  rows = Rows(lambda i: {'text': f'{i} ' * 2000, 'library': i % 5}, size)
  config = _config(canaries=10, **EVERYTHING)
  tracemalloc.start()
  changed, _ = interventions.apply(config, rows)
  kept, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert len(changed) > 1.9 * size
  assert kept < 40 * size
  assert peak < 120 * size


def test_random_access():
  rows = Rows(_row, SIZE)
  changed, _ = interventions.apply(_config(**EVERYTHING), rows)
  in_order = list(changed)
  for index in (0, 17, len(changed) - 1, -1):
    assert changed[index] == in_order[index]
  assert changed[5:9] == in_order[5:9]
  with pytest.raises(IndexError):
    changed[len(changed)]


@pytest.mark.parametrize(
  ('keys', 'message'),
  [
    ({'duplicate_share': 1.5}, 'duplicate_share = 1.5: a share from 0 to 1'),
    ({'label_noise': -0.1}, 'label_noise = -0.1'),
    ({'corrupt_share': float('nan')}, 'corrupt_share = nan'),
    ({'seed': -1}, 'seed = -1'),
    ({'duplicate_times': 0}, 'duplicate_times = 0'),
    ({'canaries': -1}, 'canaries = -1'),
    ({'canaries': 10**7}, 'canaries = 10000000'),
    ({'canary_times': ()}, r'canary_times = \(\)'),
    ({'canary_times': (1, 0)}, r'canary_times = \(1, 0\)'),
    ({'label_noise': 0.1}, "label_field = '': name the field"),
    ({'drop_share': 0.1}, "drop_field = '': name the field"),
    ({'label_field': 'text'}, "label_field = 'text'"),
  ],
)
def test_bad_configs(keys, message):
  with pytest.raises(UserError, match=rf'data\.interventions\.{message}'):
    InterventionConfig(**keys).validate()


def test_fields_that_are_not_there():
  for keys, message in (
    ({'label_field': 'x', 'label_noise': 0.1}, "label_field = 'x': no "),
    ({'drop_field': 'x', 'drop_share': 0.1}, 'has it; one has library, text'),
    (
      {'drop_field': 'library', 'drop_value': 'sea', 'drop_share': 0.1},
      'no document has that library; choose from garden, harbour, kitchen',
    ),
  ):
    with pytest.raises(UserError, match=message):
      _apply(**keys)


def test_one_label_and_nothing_left():
  rows = ROWS[::3]
  keys = {'drop_field': 'library', 'drop_value': 'kitchen', 'drop_share': 1.0}
  with pytest.raises(UserError, match='leaves no document'):
    _apply(rows, **keys)
  with pytest.raises(UserError, match='one value'):
    _apply(rows, label_field='library', label_noise=0.1)
