"""The bundles beside standard baselines: speed and quality. Nothing imports this package."""
