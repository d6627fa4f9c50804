"""Measurements, made by hand."""
