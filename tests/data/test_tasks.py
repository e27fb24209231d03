import collections
import re

import pytest

from data import tasks


@pytest.fixture(scope='module')
def documents():
  def words(topic, number):
    return ' '.join(f'{topic}{number}word{i}' for i in range(40))

  return [
    {'text': words(topic, number), 'library': topic}
    for topic in ('alpha', 'beta', 'gamma')
    for number in range(20)
  ] + [{'text': 'too short', 'library': 'delta'}]


def test_truth_continues_the_context(documents):
  items = tasks.continuation_choices(documents, seed=0)
  assert len(items) > 60
  for item in items:
    truth = item.choices[item.answer]
    homes = [d for d in documents if item.context + truth in d['text']]
    assert len(homes) == 1
    assert len(item.choices) == len(set(item.choices)) == 4
    assert len(item.context.encode()) >= 96
    for choice in item.choices:
      assert 64 <= len(choice.encode()) < 64 + 20
      assert (choice in homes[0]['text']) == (choice == truth)


def test_answers_are_uniform_and_lengths_tell_nothing(documents):
  items = tasks.continuation_choices(documents, seed=0)
  answers = collections.Counter(item.answer for item in items)
  assert max(answers.values()) - min(answers.values()) <= 1
  gaps = [
    abs(len(choice) - len(item.choices[item.answer]))
    for item in items
    for choice in item.choices
  ]
  assert sum(gaps) / len(gaps) < 2


def test_seed_and_limit(documents):
  items = tasks.continuation_choices(documents, seed=0)
  assert items == tasks.continuation_choices(documents, seed=0)
  assert items != tasks.continuation_choices(documents, seed=1)
  assert tasks.continuation_choices(documents, seed=0, limit=7) == items[:7]
  two = tasks.continuation_choices(documents, seed=0, num_choices=2)
  assert {len(item.choices) for item in two} == {2}


def test_equal_continuations_are_never_offered_together():
  tail = ' the same tail of words for all of them, so to speak'
  head = 'x' * 160
  documents = [{'text': f'{i}{head}{tail}'} for i in range(6)]
  assert tasks.continuation_choices(documents, seed=0) == []


def test_mask_by_hand():
  masked = tasks.mask_libraries(
    'Like `numpy.sin`; np.array, jnp.dot, TensorFlow, inputs, snap, nnodes.\n'
    'import matplotlib.pyplot as plt'
  )
  assert masked == (
    'Like `lib.sin`; lib.array, lib.dot, lib, inputs, snap, nnodes.\n'
    'import lib.lib as lib'
  )


def test_topics(documents):
  labels = tasks.largest_libraries(documents, 2)
  assert labels == ('alpha', 'beta')
  examples = tasks.library_topics(documents, labels, seed=0)
  assert collections.Counter(e.label for e in examples) == {
    'alpha': 20,
    'beta': 20,
  }
  assert all(e.text.startswith(e.label) for e in examples)
  assert examples == tasks.library_topics(documents, labels, seed=0)
  assert tasks.library_topics(documents, labels, 0, 5) == examples[:5]
  assert examples != tasks.library_topics(documents, labels, seed=1)


def test_no_name_of_a_library_is_left():
  text = 'See scipy.stats, JAX, flax.nnx and tensorflow_datasets (tfds).'
  left = set(re.findall(r'[a-z]+', tasks.mask_libraries(text).lower()))
  assert left == {'see', 'lib', 'stats', 'and'}
