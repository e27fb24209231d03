"""What is in the training text: counts, rules, personal data, groups."""
