"""What the compiler of TPUs finds of large models, as it was found before.

`python benchmarks/compile.py [NAME...]` remakes the files of golden/compile:
after a change of the model or of libtpu, and after a look at what has changed.
Those named after MaxText are made with the versions that it is compared under,
of Python 3.12; one libtpu does not find what another has found.
"""

import importlib.metadata
import json
import pathlib

import pytest

from configs import pretrain
from configs.tree import flatten, with_overrides
from train.compile import compile_step

FILES = sorted(
  (pathlib.Path(__file__).parent / 'golden/compile').glob('*.json')
)
NOT_COMPARED = ('versions', 'config_digest')
# What MaxText 0.2.5 reports of its gpt3-6b on v5p:2x2x1, by its defaults and
# libtpu 0.0.52: bytes, and for 4 layers without a loop FLOPs and seconds.
MAXTEXT = {
  'maxtext-gpt3-6b': {'arguments': 16.78e9, 'temporaries': 11.76e9},
  'maxtext-gpt3-6b-4-layers': {
    'arguments': 1.81e9,
    'temporaries': 2.37e9,
    'flops': 3.72e13,
    'modelled_seconds': 0.1053,
  },
}


def _golden(path):
  return json.loads(path.read_text())


@pytest.mark.long
@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_the_compiler_finds_what_it_found(path):
  pytest.importorskip('libtpu', reason='libtpu, of the extra `tpu`, compiles')
  golden = _golden(path)
  made_by = golden['result']['versions']['libtpu']
  if importlib.metadata.version('libtpu') != made_by:
    pytest.skip(f'libtpu {made_by} has made it')
  config = with_overrides(
    pretrain.get_config(golden['size']), golden['overrides']
  )
  found = flatten(compile_step(config, golden['topology']))
  for key, value in flatten(golden['result']).items():
    if key.startswith(NOT_COMPARED):
      continue
    if isinstance(value, int | float):
      value = pytest.approx(value, rel=0.02)
    assert found[key] == value, key


def test_all_that_was_asked_for_fits():
  topologies = {path.stem: _golden(path)['topology'] for path in FILES}
  assert topologies == {
    'bert-large': 'v5e:4x4',
    'gpt3-175b': 'v5p:8x8x8',
    'gpt3-6.7b': 'v5p:2x2x1',
    'llama3-8b': 'v5e:16x16',
    'maxtext-gpt3-6b': 'v5p:2x2x1',
    'maxtext-gpt3-6b-4-layers': 'v5p:2x2x1',
  }
  for path in FILES:
    golden = _golden(path)
    result = golden['result']
    assert result['topology'] == golden['topology']
    assert result['fits']
    assert result['hbm_bytes']['total'] < result['capacity_bytes']
    assert 0 < result['mfu'] <= result['mfu_bound']


@pytest.mark.parametrize('name', list(MAXTEXT))
def test_it_is_within_a_percent_of_maxtext_or_under(name):
  result = _golden(FILES[0].with_name(f'{name}.json'))['result']
  assert result['versions']['libtpu'] == '0.0.52'
  found = result | result['hbm_bytes']
  for key, theirs in MAXTEXT[name].items():
    assert found[key] <= 1.01 * theirs, key
