"""What Streamlit is started with.

In a folder of its own: beside a folder named ``pages``, Streamlit's first visitor would be told that a page other than
the main one does not exist; and what lies beside the script can be imported by its bare name.
"""

from kddoctor.app.script import main

main()
