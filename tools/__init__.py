"""Chores of the repository. Nothing in `common` or `bundles` imports this package."""
