"""Training: everything that happens inside one trial."""
