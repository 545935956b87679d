"""Readers of public data sets. The files are read from a folder that the user gives; the project holds no copy.

Every reader splits by person, persona or story, never by row, and says where to get a set that is missing.
"""
