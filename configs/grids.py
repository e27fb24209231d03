"""Electricity: its carbon by region, and what a data centre adds. Plain data.

Grams of CO2 equivalent a kWh generated, over the life cycle, mean of 2023:
Ember (Yearly Electricity Data, 2024), as given by Our World in Data. Hourly
and local values differ several times over; contracts for clean power are not
counted.
"""

GRAMS_PER_KWH: dict[str, float] = {
  'world': 481,
  'belgium': 138,
  'brazil': 98,
  'canada': 170,
  'china': 582,
  'finland': 79,
  'france': 56,
  'germany': 381,
  'india': 713,
  'ireland': 291,
  'norway': 30,
  'united-states': 369,
}

# Power of the building over that of its machines: the mean of Google's fleet.
# The mean of all who answered the Uptime Institute's survey of 2023 is 1.58.
PUE = 1.1
