"""Certification by randomized smoothing. Bounds, sequential tests and smoothing move in here.

Noise is added to pixels in [0, 1], before the model normalises; heads come from `medadv.models.head`.
"""
