"""Decides which medical scans to label next: active learning in JAX that informs and is fair. Importing this computes nothing."""
