"""The inspection app: Streamlit pages over one or more recorded runs, served on this machine alone."""
