"""How each view is drawn in the report: one file a picture."""
