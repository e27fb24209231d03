import numpy as np
import pytest

from configs.errors import UserError
from scaling import table
from scaling.fit import fit_law

LOSS = ('params', 'tokens')


def read(tmp_path, text, **renamed):
  path = tmp_path / 'runs.csv'
  path.write_text(text)
  return table.from_columns(table.read_csv(path, renamed), LOSS)


def test_rows_become_points(tmp_path):
  points = read(
    tmp_path, 'loss, tokens,params,note\n3.5,2e9,1e8,x\n3.2,4e9,1e8,y\n'
  )
  np.testing.assert_array_equal(points['tokens'], [2e9, 4e9])
  np.testing.assert_array_equal(points.value, [3.5, 3.2])
  np.testing.assert_array_equal(points['flops'], [1.2e18, 2.4e18])
  assert points.conventions['flops'] == '6ND'


def test_flops_seeds_and_sizes_are_taken_as_given(tmp_path):
  points = read(
    tmp_path, 'params,tokens,loss,flops,seed,size\n1e8,2e9,3.5,7e17,4,small\n'
  )
  assert (points['flops'][0], points.seed[0]) == (7e17, 4)
  assert points.size == ('small',)
  assert points.conventions['flops'] == 'as given'


def test_columns_have_other_names(tmp_path):
  points = read(
    tmp_path, 'N,D,L\n1e8,2e9,3.5\n', params='N', tokens='D', loss='L'
  )
  assert (points['params'][0], points.value[0]) == (1e8, 3.5)


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'holds no runs'),
    ('params,tokens,loss\n', 'holds no runs'),
    ('params,D,loss\n1,2,3\n', 'no column tokens among params, D, loss'),
    ('N,D,L\n1,2,3\n', 'no column params, tokens, loss'),
    ('params,tokens,loss\n1,2,3\n1,2,nan\n', 'row 2: loss = nan'),
    ('params,tokens,loss\n1,2,0\n', 'row 1: loss = 0'),
    ('params,tokens,loss\n0,2,3\n', 'row 1: params = 0'),
    ('params,tokens,loss\n1,-2,3\n', 'row 1: tokens = -2'),
    ('params,tokens,loss\n1,2,\n', "row 1: loss = ''"),
    ('params,tokens,loss\n1,2\n', "row 1: loss = ''"),
    ('params,tokens,loss\n1,two,3\n', "row 1: tokens = 'two'"),
    ('params,tokens,loss,flops\n1,2,3,inf\n', 'row 1: flops = inf'),
    (
      'params,tokens,loss\n1e8,2,3\n2e8,3e9,2.9\n2e8,4e9,2.8\n',
      'tokens: 1 of 3 values are at most 2, the others at least 3e.09: two '
      'units in one column',
    ),
  ],
)
def test_mistakes_are_named(tmp_path, text, message):
  with pytest.raises(UserError, match=message) as error:
    read(tmp_path, text)
  assert '\n' not in str(error.value)


def test_files_and_names_that_are_not_there(tmp_path):
  with pytest.raises(UserError, match='no such file'):
    table.read_csv(tmp_path / 'none.csv')
  with pytest.raises(UserError, match='no column n among params, tokens, loss'):
    read(tmp_path, 'params,tokens,loss\n1,2,3\n', params='n')
  (tmp_path / 'bytes.csv').write_bytes(b'\xff\xfe\n\xff')
  with pytest.raises(UserError, match='not UTF-8'):
    table.read_csv(tmp_path / 'bytes.csv')


def test_a_frame_is_a_mapping_of_columns(truth, ladder):
  """Whatever has items() of named columns will do, as pandas does."""
  points = ladder(truth)
  frame = {**points.columns, 'loss': points.value}
  fit = fit_law(frame, resamples=4)
  np.testing.assert_allclose(fit.params_P, truth, rtol=1e-4)


def test_wide_ladders_are_one_unit():
  """The widest published ladders have no gap: here, a budget a decade."""
  table.from_columns(
    {
      'params': [1e6, 1e9, 1e12],
      'tokens': [1e9, 1e12, 1e13],
      'loss': [4, 3, 2],
    },
    LOSS,
  )


@pytest.mark.parametrize(
  'text, message',
  [
    (
      'params,tokens,loss\n125,500,100,2500000000,3.1\n',
      'row 1 has more cells',
    ),
    ('params,tokens,loss,loss\n1,2,3,4\n', 'a column twice among params'),
  ],
)
def test_shifted_columns_are_refused(tmp_path, text, message):
  with pytest.raises(UserError, match=message):
    read(tmp_path, text)


def test_columns_of_several_lengths_are_refused():
  with pytest.raises(UserError, match='several lengths: params 2, tokens 1'):
    table.from_columns({'params': [1, 2], 'tokens': [3], 'loss': [4]}, LOSS)
