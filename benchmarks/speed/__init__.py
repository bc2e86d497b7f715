"""Time and memory of every bundle beside plain loops, DynUNet and SegResNet."""
