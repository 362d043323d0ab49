"""A scripted week of a company; ``python -m tests.week`` runs it and prints it."""
