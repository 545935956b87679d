"""Training, for researchers: data, objectives, Lightning modules, evaluation and export.

Imports ``hypernet``; never ``serving``. What it hands to the service is a file format: a folder under ``checkpoints/``.
"""
