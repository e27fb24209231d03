"""Default intervals hold the truth as often as they say."""

import pathlib
import runpy

import pytest

BENCHMARK = runpy.run_path(
  str(pathlib.Path(__file__).parents[2] / 'benchmarks/coverage.py'),
  run_name='coverage',
)


@pytest.mark.long
@pytest.mark.parametrize(
  'design',
  BENCHMARK['GATED'],
  ids=lambda d: f'{d.title}-{100 * d.noise:g}%-{len(d.columns()["params"])}',
)
def test_nine_of_ten(design):
  """1,000 ladders of 24 rungs or more, 500 resamples each.

  At a true coverage of 90% a share outside 86% to 94% has a chance below 1e-4.
  """
  held = BENCHMARK['cover'](design, ladders=1000, resamples=500)
  assert set(held) == {'E', 'alpha', 'beta', '10x', '100x'}
  for name in ('alpha', 'beta', '10x', '100x'):
    assert 0.86 <= held[name] <= 0.94, held


def test_the_benchmark_counts():
  """A few ladders: an interval of a tenth of its width holds far less."""
  design = BENCHMARK['GATED'][0]
  held = BENCHMARK['cover'](design, ladders=12, resamples=60)
  narrow = BENCHMARK['cover'](design, ladders=12, resamples=60, level=0.1)
  assert sum(held.values()) > 2 * sum(narrow.values())
