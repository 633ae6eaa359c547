"""Recordings and builders of data sets; not part of the installed package."""
