"""Tracking: who listens to a study's events."""
