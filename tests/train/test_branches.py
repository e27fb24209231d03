"""Many token budgets from one trunk: their cost and their losses."""

import pathlib
import runpy

import pytest

BENCHMARK = runpy.run_path(
  str(pathlib.Path(__file__).parents[2] / 'benchmarks/branches.py'),
  run_name='branches',
)


@pytest.mark.long
def test_branches_cost_less_than_cosine_runs_and_end_as_low(tmp_path):
  rows = BENCHMARK['compare'](BENCHMARK['recipe']('nest-56k'), 100, tmp_path)
  print(BENCHMARK['table'](rows))
  first, *_, last = rows
  assert last.tokens == 16 * first.tokens
  # 31 units of steps against 16 of the trunk and 1.5 of four decays.
  assert [row.cosine_steps for row in rows] == [100, 200, 400, 800, 1600]
  assert [row.branch_steps for row in rows] == [10, 20, 40, 80, 1600]
  assert BENCHMARK['cost_share'](rows) == pytest.approx(1750 / 3100)
  for row in rows:
    assert row.branch_loss <= 1.01 * row.cosine_loss
  # The least budget is far from where more tokens change nothing.
  assert last.cosine_loss < 0.9 * first.cosine_loss
