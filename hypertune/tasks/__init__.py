"""Tasks: one file = data + loss + metrics + splits."""
