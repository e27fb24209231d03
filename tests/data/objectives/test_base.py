import dataclasses

import pytest

from configs.errors import UserError
from data.objectives.base import ObjectiveConfig


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'kind': 'masked', 'whole_words': True, 'noise_density': 0.4},
    {'kind': 'spans', 'mean_span': 1.0, 'static': True},
    {'kind': 'middle', 'middle_rate': 0.0},
    {'kind': 'middle', 'middle_rate': 1.0},
  ],
)
def test_what_can_be(changes):
  dataclasses.replace(ObjectiveConfig(), **changes).validate()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'kind': 'mlm'}, r"data\.objective\.kind = 'mlm': choose from causal, "),
    ({'noise_density': 0.0}, r'data\.objective\.noise_density = 0\.0: '),
    ({'noise_density': 1.0}, 'noise_density = 1.0: .* below 1'),
    ({'noise_density': float('nan')}, 'noise_density = nan'),
    ({'mean_span': 0.5}, r'data\.objective\.mean_span = 0\.5: at least 1'),
    ({'mean_span': float('inf')}, 'mean_span = inf'),
    ({'middle_rate': 1.5}, r'data\.objective\.middle_rate = 1\.5: .* 0 to 1'),
    ({'middle_rate': -0.1}, 'middle_rate = -0.1'),
    (
      {'kind': 'spans', 'whole_words': True},
      r"data\.objective\.whole_words = True: .* 'masked', not 'spans'",
    ),
  ],
)
def test_what_cannot_be(changes, message):
  with pytest.raises(UserError, match=message) as error:
    dataclasses.replace(ObjectiveConfig(), **changes).validate()
  assert '\n' not in str(error.value)
