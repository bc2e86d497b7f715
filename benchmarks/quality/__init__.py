"""The papers' networks, DynUNet and SegResNet trained on one public data set."""
