"""Networks, losses, transforms, inferers and engines that the bundles share."""

__version__ = "0.1.0"
