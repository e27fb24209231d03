"""Items laid side by side into rows, by best fit."""

from collections.abc import Sequence


def best_fit(
  lengths: Sequence[int],
  row_length: int,
  others: Sequence[int] = (),
  other_length: int = 0,
) -> list[list[int]]:
  """Assigns items to rows by best fit, the longest items first.

  Best-fit decreasing needs at most 11/9 of the fewest rows possible, and four
  more (Johnson et al. 1974). Equal items stay in order: the result is fixed.

  Args:
    lengths: of the items, each at most `row_length`.
    row_length: of every row.
    others: what each item takes of a second length, which must fit too, such as
      the target beside the source; none by default.
    other_length: of every row.

  Returns:
    For each row, the indices of its items.
  """
  others = others or [0] * len(lengths)
  rows: list[list[int]] = []
  other_spaces: list[int] = []
  # by free space: the rows that have just so much of it
  with_space: list[list[int]] = [[] for _ in range(row_length + 1)]
  filled = 0  # bit s is set where with_space[s] has rows
  for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    length, other = lengths[item], others[item]
    candidates = filled >> length
    space = length
    row = -1
    while candidates:
      skipped = (candidates & -candidates).bit_length() - 1
      space += skipped
      if other_spaces[with_space[space][-1]] >= other:
        row = with_space[space].pop()
        if not with_space[space]:
          filled ^= 1 << space
        break
      candidates >>= skipped + 1
      space += 1
    if row < 0:
      row, space = len(rows), row_length
      rows.append([])
      other_spaces.append(other_length)
    rows[row].append(item)
    other_spaces[row] -= other
    with_space[space - length].append(row)
    filled |= 1 << (space - length)
  return rows
