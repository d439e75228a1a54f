"""Fits the detector on history: files become a bundle, with its evidence."""
