"""The smaller sections: lengths, fields, toxicity, licences."""

import importlib.metadata

import numpy as np
import pytest

from data.audit import fields, licences, shares
from data.audit.distribution import QUANTILES, Distribution
from data.audit.documents import cut
from data.audit.lengths import Lengths
from data.audit.masking import mask
from data.audit.toxicity import Toxicity, offensive_words


def test_cut():
  documents = cut(['a b  a\n', '', 'ü b'])
  assert documents.distinct == ('a', 'b', 'ü')
  assert documents.word_W.tolist() == [0, 1, 0, 2, 1]
  assert documents.document_W.tolist() == [0, 0, 0, 2, 2]
  assert documents.bytes_P.tolist() == [7, 0, 4]
  assert documents.words_P.tolist() == [3, 0, 2]
  assert documents.places == (0, 1, 2)


@pytest.mark.parametrize('scale', [1, 1e-4, 1e6])
def test_quantiles(scale):
  rng = np.random.Generator(np.random.PCG64(0))
  value_P = scale * rng.lognormal(size=2000)
  found = Distribution()
  for part in np.array_split(value_P, 7):
    other = Distribution()
    other.count(part)
    found.add(other)
  exact = np.quantile(value_P, QUANTILES, method='inverted_cdf')
  tree = found.tree()
  np.testing.assert_allclose(list(tree['quantiles'].values()), exact, rtol=5e-3)
  assert tree['mean'] == pytest.approx(value_P.mean())
  assert (tree['min'], tree['max']) == (value_P.min(), value_P.max())


def test_lengths():
  section = Lengths()
  section.count(cut(['', 'abc', 'abcd', 'x' * 100, 'y ' * 50]))
  tree = section.tree()
  assert [
    (r['from'], r['documents'], r['bytes']) for r in tree['histogram']
  ] == [
    *((1, 1, 0), (2, 1, 3), (4, 1, 4), (8, 0, 0), (16, 0, 0), (32, 0, 0)),
    (64, 2, 200),
  ]
  assert tree['bytes']['quantiles']['0.5'] == 4
  assert tree['words']['max'] == 50


def test_fields_of_a_row():
  row = {
    'text': 'T',
    'path': 'a/b.tar.gz',
    'kind': 'x',
    'label': 3,
    'score': 0.5,
    'summary': 's' * 101,
    'tags': ['a'],
  }
  assert fields.fields_of(row) == {
    'path': 'a/b.tar.gz',
    'path suffix': '.gz',
    'kind': 'x',
    'label': 3,
    'summary': fields.LONGER,
  }


def test_fields():
  section, other = fields.Fields(), fields.Fields()
  section.count(cut(['aa', 'b'], [{'kind': 'x'}, {'kind': 'y'}]))
  other.count(cut(['cccc'], [{'kind': 'x', 'id': 5}]))
  section.add(other)
  tree = section.tree()['fields']
  assert tree['kind']['distinct'] == 2
  assert tree['kind']['values'][0] == {
    'value': 'x',
    'documents': 2,
    'bytes': 6,
    'share_of_documents': pytest.approx(2 / 3),
    'share_of_bytes': pytest.approx(6 / 7),
  }
  assert tree['id']['values'][0]['share_of_documents'] == 1


def test_a_field_with_too_many_values_is_given_up():
  section = fields.Fields()
  for chunk in range(3):
    other = fields.Fields()
    values = [{'id': 500 * chunk + i, 'kind': 'x'} for i in range(500)]
    other.count(cut(['t'] * 500, values))
    section.add(other)
  tree = section.tree()['fields']
  assert tree['id'] == {'distinct': None, 'values': []}
  assert tree['kind']['values'][0]['documents'] == 1500
  assert set(section.shares()) == {'kind'}


def test_offensive_words():
  assert offensive_words('A kind word.') == []
  assert offensive_words('Scunthorpe, classic cockpit, 0xa55') == []
  (found,) = offensive_words('What a load of CRAP!')
  assert found == ('crap', ('excretory',))


def test_toxicity():
  texts = ['crap', 'fine words here', 'crap crap'] * 10
  values = [{'kind': 'x'}, {'kind': 'y'}, {'kind': 'x'}] * 10
  section, other = Toxicity(), Toxicity()
  section.count(cut(texts[:15], values[:15]))
  other.count(cut(texts[15:], values[15:]))
  section.add(other)
  tree = section.tree()
  assert (tree['documents'], tree['words']) == (20, 30)
  assert tree['per_million_words'] == pytest.approx(1e6 * 30 / 60)
  assert tree['categories']['excretory']['documents'] == 20
  # 'y' has no such word, and too few documents besides.
  assert tree['fields'] == {
    'kind': [{'value': 'x', 'documents': 20, 'share_of_documents': 1.0}]
  }
  assert tree['commonest'] == [{'masked': 'cr…', 'words': 30}]


def test_masks_are_never_whole():
  assert [mask(t) for t in ('', 'a', 'ab', 'abc', 'abcdef')] == [
    *('…', '…', 'a…', 'a…', 'ab…')
  ]


def by_library(**bytes_of):
  found = shares.Shares()
  for name, size in bytes_of.items():
    found.count(name, size)
  return found


def told(tree):
  return {row['value']: row['bytes'] for row in tree['shares']}


def test_licences_of_packages():
  counts = by_library(numpy=60, stdlib=30, nobody=10)
  packages = {'numpy': '2.0', 'stdlib': '3.11', 'nobody': '1'}
  tree = licences.licences(
    {'packages': packages}, {'library': counts}, documents=3, size=100
  )
  numpy_licence = importlib.metadata.metadata('numpy')['License-Expression']
  assert tree['packages']['numpy']['licence'] == numpy_licence
  assert told(tree) == {numpy_licence: 60, 'PSF-2.0': 30, 'unknown': 10}


@pytest.mark.parametrize('key', ['licence', 'license'])
def test_licence_of_a_source(key):
  tree = licences.licences({key: 'CC0-1.0'}, {}, documents=3, size=100)
  assert told(tree) == {'CC0-1.0': 100}
  assert tree['shares'][0]['documents'] == 3


def test_licence_of_a_document_comes_first():
  counts = by_library(MIT=70)
  tree = licences.licences({}, {'license': counts}, documents=2, size=100)
  assert told(tree) == {'MIT': 70, 'unknown': 30}


def test_no_licence():
  assert told(licences.licences({}, {}, 1, 5)) == {'unknown': 5}


def test_licences_of_a_source():
  tree = licences.licences({'licence': ['MIT', 'CC0-1.0']}, {}, 3, 100)
  assert told(tree) == {'MIT, CC0-1.0': 100}
