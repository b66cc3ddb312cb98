"""The driver: the one process that owns a study, asks and tells, and recovers what a killed predecessor left."""
