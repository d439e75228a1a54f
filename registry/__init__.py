"""Bundles on disk: written aside, checked on reading, promoted and rolled back."""
