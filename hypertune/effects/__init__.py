"""What the regularization hyperparameters do to inputs, targets and losses while training; one file = one effect."""
