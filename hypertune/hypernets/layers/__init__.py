"""Best-response layers: one file = one kind of layer."""
