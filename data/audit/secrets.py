"""Private keys and access tokens, by their form.

Most forms are those of detect-secrets, with which The Stack was cleaned (Li et
al. 2023, arXiv:2305.06161). Of its detectors those are taken that know a token
by itself; those that go by the name of a variable, or by entropy, find too much
in prose and code. Some are written anew, since theirs take the square of the
length of a text that was made to that end. Nothing is verified with the service
that issued it.
"""

import functools
import re
from collections.abc import Iterator

from data.audit import extras

DETECTORS = {  # of detect_secrets.plugins: module and class
  'aws': 'AWSKeyDetector',
  'azure_storage_key': 'AzureStorageKeyDetector',
  'discord': 'DiscordBotTokenDetector',
  'github_token': 'GitHubTokenDetector',
  'gitlab_token': 'GitLabTokenDetector',
  'mailchimp': 'MailchimpDetector',
  'pypi_token': 'PypiTokenDetector',
  'sendgrid': 'SendGridDetector',
  'slack': 'SlackDetector',
  'square_oauth': 'SquareOAuthDetector',
  'stripe': 'StripeDetector',
  'telegram_token': 'TelegramBotTokenDetector',
  'twilio': 'TwilioKeyDetector',
}
_IN_CONTEXT = ('aws',)  # the first group is the secret
# detect-secrets knows only the first line of a key. In a string of code the
# lines of a key end with a backslash and an n. Its headers are bounded, so that
# a text of many first lines does not take the square of its length.
_PRIVATE_KEY = re.compile(
  r'-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----'
  r'(?:\r?\n[A-Za-z-]{1,40}+: [^\n]{0,200}+){0,10}+'
  r'(?:(?:\\[rn]|\s)++[A-Za-z0-9+/=]{16,}+)++'
  r'(?:(?:\\[rn]|\s)++[A-Za-z0-9+/=]{1,15}(?![A-Za-z0-9]))?'
  r'(?:(?:\\[rn]|\s)*-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?'
)
# Each with the group that is the secret.
_OURS = (
  # JSON web tokens, whose signature detect-secrets leaves out
  (r'(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*', 0),
  # a password in a URL; no placeholder in brackets
  (r'://[^\s:/?#@<>{}\[\]]{1,64}:([^\s:/?#@<>{}\[\]]{1,64})@', 1),
  (r':_authToken=[ "\']*(npm_\w{36}|[0-9A-Fa-f-]{36})', 1),
  (r'(?<![\w-])sk-[\w-]{0,200}?T3BlbkFJ[A-Za-z0-9]{20}', 0),  # OpenAI
)
_REST = re.compile(r'[A-Za-z0-9_-]*')


def private_keys(text: str) -> Iterator[tuple[int, int]]:
  """Start and stop of every private key, from its first line to its last."""
  for match in _PRIVATE_KEY.finditer(text):
    yield match.span()


def access_tokens(text: str) -> Iterator[tuple[int, int]]:
  """Start and stop of everything that has the form of a token.

  Raises:
    UserError: detect-secrets is not installed.
  """
  for pattern, group in _patterns():
    for match in pattern.finditer(text):
      start, stop = match.span(group)
      if start and text[start - 1].isalnum():
        continue  # the end of something longer, such as a digest
      if not group:  # services lengthen their tokens
        stop = _end(text, stop)
      yield start, stop


def _end(text: str, stop: int) -> int:
  rest = _REST.match(text, stop)
  return rest.end() if rest else stop


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], int], ...]:
  """Each pattern, and which of its groups is the secret."""
  found = [(re.compile(pattern, re.ASCII), group) for pattern, group in _OURS]
  for name, detector in DETECTORS.items():
    module = extras.load(f'detect_secrets.plugins.{name}')
    for pattern in getattr(module, detector).denylist:
      found.append((pattern, int(bool(pattern.groups) and name in _IN_CONTEXT)))
  return tuple(found)
