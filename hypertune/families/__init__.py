"""Model families: one file = one family (its modules, its builder, the hyperparameters it reads)."""
