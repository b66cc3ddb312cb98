"""Reporting: what a study found, from its records."""
