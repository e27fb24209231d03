import collections

from data import splits


def test_known_hashes():
  # `printf json.decoder | sha256sum` and so on: their first 16 digits
  assert splits.stable_hash('') == 0xE3B0C44298FC1C14
  assert splits.stable_hash('abc') == 0xBA7816BF8F01CFEA


def test_split_follows_the_hash():
  # 0xe3b0... / 2^64 = 0.889 and 0xba78... / 2^64 = 0.728
  assert splits.split_of('') == 'train'
  assert splits.split_of('abc') == 'train'
  for key in map(str, range(500)):
    fraction = splits.stable_hash(key) / 2**64
    expected = 'train'
    if fraction >= 0.95:
      expected = 'test'
    elif fraction >= 0.9:
      expected = 'validation'
    assert splits.split_of(key) == expected


def test_shares():
  counts = collections.Counter(splits.split_of(str(i)) for i in range(20_000))
  assert abs(counts['train'] / 20_000 - 0.90) < 0.01
  assert abs(counts['validation'] / 20_000 - 0.05) < 0.01
  assert abs(counts['test'] / 20_000 - 0.05) < 0.01
