"""Networks from hyperparameters to weights: best responses attached to a plain ``nn.Module``."""
