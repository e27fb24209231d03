"""Short texts laid side by side into rows of one length."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
  """Assigns items to rows by best fit, the longest items first.

  Best-fit decreasing needs at most 11/9 of the fewest rows possible, and four
  more (Johnson et al. 1974). Equal items stay in order: the result is fixed.

  Args:
    lengths: of the items, each at most `row_length`.
    row_length: of every row.

  Returns:
    For each row, the indices of its items.
  """
  rows: list[list[int]] = []
  # by free space: the rows that have just so much of it
  with_space: list[list[int]] = [[] for _ in range(row_length + 1)]
  for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    length = lengths[item]
    for space in range(length, row_length + 1):
      if with_space[space]:
        row = with_space[space].pop()
        break
    else:
      row, space = len(rows), row_length
      rows.append([])
    rows[row].append(item)
    with_space[space - length].append(row)
  return rows
