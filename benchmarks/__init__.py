"""Measurements, one module a question; each states how to run it and what its figures mean."""
