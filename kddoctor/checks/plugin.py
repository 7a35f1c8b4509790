"""The pytest plugin, loaded with the package and silent unless it is asked."""
