"""On-disk layouts, a file each: a folder becomes a list of ``case``, ``image`` and ``label``."""
