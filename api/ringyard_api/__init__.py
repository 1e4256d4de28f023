"""Ringyard."""
