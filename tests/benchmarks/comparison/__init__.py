"""Methods x tasks x seeds at equal budgets; run by ``tests/benchmarks/run.py``."""
