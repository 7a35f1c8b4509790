"""The inspection app, for ``streamlit run app.py -- RUN_DIR …``; ``kddoctor app RUN_DIR …`` starts the same."""

from kddoctor.app.script import main

main()
