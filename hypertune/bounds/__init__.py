"""How far a configuration that was tuned on some tasks can be trusted on others; one file = one statement.

All functions are pure, in NumPy and SciPy. Utilities lie in [0, 1], larger is better, tasks are the rows.

- Theory, before any task is seen: `piecewise`, `activation_interpolation` and `graph_kernels` count how often a
  task's utility can swing as the hyperparameter moves; `pseudo_dimension` turns counts into a dimension, `uniform`
  dimensions and counts into a gap, `sample_size` gaps into numbers of tasks. `orders` has what is known up to a
  constant only.
- Certificates, from tasks that were seen: `hoeffding`, `empirical_bernstein`, `betting`, `confidence_sequence`,
  `rademacher`, `pac_bayes`, and `improvement` over a default. `candidates` says who may share them at which level.
- Choice: `dual` and `breakpoints` enumerate a task's utility in one hyperparameter, `erm` finds the best mean,
  `refinement` does so in several dimensions.
"""
