"""A search over settings: its space, its trials in a database, and what came of them.

Knows no Ray: `retdm.onray` runs the trials.
"""
