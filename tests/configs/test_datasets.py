"""The table of data sets against what TensorFlow Datasets itself has."""

import inspect
import re

import pytest
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import splits as tfds_splits

from configs import blimp, datasets, mixtures
from configs.datasets import DATASETS
from data import sources, tfds_prepare
from data.splits import SPLITS

TFDS = [
  name
  for name, row in DATASETS.items()
  if row.source.startswith('tfds:')
  and (not name.startswith('blimp/') or name == 'blimp/transitive')
]


class NothingDownloaded:
  """A download manager whose files are not there."""

  manual_dir = download_dir = epath.Path('/nonexistent')

  def download(self, urls):
    if isinstance(urls, dict):
      return {key: self.download(url) for key, url in urls.items()}
    if isinstance(urls, list | tuple):
      return [self.download(url) for url in urls]
    return self.download_dir / 'file'

  extract = download_and_extract = download

  def iter_archive(self, path):
    return iter(())


def _builder(name, data_dir=None):
  (spec,) = sources.parse(name)
  tfds_prepare.register_legacy(spec.name.partition('/')[0])
  return tfds.builder(spec.name, data_dir=data_dir)


def _splits(builder):
  """The splits that a builder makes, by its own code.

  The code is run; where that takes TensorFlow, Beam or a file's content (c4,
  lm1b, pg19, wikipedia, dolma, xsum, cnn_dailymail), it is read.
  """
  make = builder._split_generators
  pipeline = (
    {'pipeline': None}
    if 'pipeline' in inspect.signature(make).parameters
    else {}
  )
  try:
    made = make(NothingDownloaded(), **pipeline)
  except (ModuleNotFoundError, FileNotFoundError):
    source = inspect.getsource(make)
    named = re.findall(r'tfds\.Split\.([A-Z]+)', source)
    return {n.lower() for n in named} or set(re.findall(r"'(\w+)': ", source))
  return set(made) if isinstance(made, dict) else {str(s.name) for s in made}


def _feature(features, path):
  for key in path.split('/'):
    if isinstance(features, tfds.features.Sequence):
      features = features.feature
    features = features[key]
  return features


@pytest.mark.parametrize('name', TFDS)
def test_splits_and_fields_are_there(name):
  row = DATASETS[name]
  (spec,) = sources.parse(name)
  builder = _builder(name)
  assert set(row.splits) <= _splits(builder)
  for field in row.fields:
    assert _feature(builder.info.features, field) is not None
  # what is read is in the row
  for _, split in spec.splits:
    assert split in row.splits
  assert spec.fields == ('text',) or set(spec.fields) <= set(row.fields)
  assert 'train' in (*row.splits, *dict(spec.splits))


@pytest.mark.parametrize('name', TFDS)
def test_mocked_rows_have_the_text_and_the_fields(name, tmp_path):
  row = DATASETS[name]
  (spec,) = sources.parse(name)
  builder = _builder(name, tmp_path)
  builder.info.set_file_format('array_record', override=True)
  builder.info.set_splits(_mocked_splits(builder, row.splits))
  builder.data_path.mkdir(parents=True)
  builder.info.write_to_directory(builder.data_dir)
  with tfds.testing.mock_data(num_examples=200, data_dir=str(tmp_path)):
    splits = sources.open_splits(spec, str(tmp_path / 'cache'))
    assert tuple(splits) == SPLITS
    for rows in splits.values():
      values = rows[0]
      assert isinstance(values['text'], str) and values['text']
      for field in row.fields:
        value = values
        for key in field.split('/'):
          value = value[key]
        assert isinstance(value, str | int | float | bool | list)


def _mocked_splits(builder, names):
  return tfds_splits.SplitDict(
    [
      tfds_splits.SplitInfo(
        name=name,
        shard_lengths=[200],
        num_bytes=1,
        filename_template=tfds.core.ShardedFileTemplate(
          data_dir=builder.data_path,
          dataset_name=builder.name,
          split=name,
          filetype_suffix='array_record',
        ),
      )
      for name in names
    ]
  )


def test_the_paradigms_of_blimp():
  builder = tfds.builder_cls('blimp')
  assert list(blimp.PARADIGMS) == [c.name for c in builder.BUILDER_CONFIGS]
  assert len(blimp.PARADIGMS) == 67


def test_rows_are_whole():
  for name, row in DATASETS.items():
    assert row.kind in datasets.KINDS, name
    assert all(row.splits) and all(row.fields), name
    assert row.licence, name
    assert re.fullmatch(r'[a-z]+\d{4}', row.citation), name


def test_what_is_no_tfds_data_set_is_a_glob():
  for name in DATASETS:
    (spec,) = sources.parse(name)
    assert spec.kind in ('tfds', 'files')
    if spec.kind == 'files':
      assert dict(spec.splits).keys() <= set(SPLITS)
      assert '*' in f'{spec.name}{dict(spec.splits).get("train", "")}'


# Gao et al. 2020, table 1: GiB of a component, and how often it is read
_RAW = {
  'Pile-CC': (227.12, 1.0),
  'PubMed Central': (90.27, 2.0),
  'Books3': (100.96, 1.5),
  'OpenWebText2': (62.77, 2.0),
  'ArXiv': (56.21, 2.0),
  'Github': (95.16, 1.0),
  'FreeLaw': (51.15, 1.5),
  'StackExchange': (32.20, 2.0),
  'USPTO Backgrounds': (22.90, 2.0),
  'PubMed Abstracts': (19.26, 2.0),
  'Gutenberg (PG-19)': (10.88, 2.5),
  'OpenSubtitles': (12.98, 1.5),
  'Wikipedia (en)': (6.38, 3.0),
  'DM Mathematics': (7.75, 2.0),
  'Ubuntu IRC': (5.52, 2.0),
  'BookCorpus2': (6.30, 1.5),
  'EuroParl': (4.59, 2.0),
  'HackerNews': (3.90, 2.0),
  'YoutubeSubtitles': (3.73, 2.0),
  'PhilPapers': (2.38, 2.0),
  'NIH ExPorter': (1.89, 2.0),
  'Enron Emails': (0.88, 2.0),
}


def test_weights_of_the_pile_follow_from_sizes_and_epochs():
  pile = mixtures.MIXTURES['pile_by_set']
  whole = sum(size * epochs for size, epochs in _RAW.values())
  assert whole == pytest.approx(1254.20, rel=1e-4)  # as published
  found = dict(zip(pile.sources, pile.weights, strict=True))
  for name, (size, epochs) in _RAW.items():
    weight = found.pop(f'files:pile/{name}/*.jsonl.zst')
    assert weight == pytest.approx(100 * size * epochs / whole, abs=0.01)
  assert not found


@pytest.mark.parametrize('name', mixtures.MIXTURES)
def test_mixtures_are_whole(name):
  row = mixtures.MIXTURES[name]
  assert len(row.sources) == len(row.weights) == len(sources.parse(name))
  assert sum(row.weights) == pytest.approx(100, abs=0.05)
  assert not {name} & set(DATASETS)


def test_tokens_of_slimpajama():
  """Billions of tokens of 627, from another table than that of shares."""
  row = mixtures.MIXTURES['slimpajama_by_set']
  tokens = [6.27 * weight for weight in row.weights]
  assert [int(t) for t in tokens] == [327, 167, 32, 28, 26, 23, 20]
