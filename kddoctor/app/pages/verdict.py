"""What is wrong, and what to do about it."""

import streamlit as st

from kddoctor.app.cards import cause_card, look_next, looked_at, metrics, other_findings, worth_it
from kddoctor.app.current import current
from kddoctor.app.figure import figure
from kddoctor.app.words import plain

opened = current()
diagnosis = opened.diagnosis

st.title({"sick": "Sick", "healthy": "Healthy", "inconclusive": "Cannot tell"}[diagnosis.verdict])
st.markdown(f"**{plain(diagnosis.summary)}**")
metrics(diagnosis)

if diagnosis.verdict == "sick":
    st.header("Cause" if len(diagnosis.causes) == 1 else "Causes, most likely first")
    for cause in diagnosis.causes:
        cause_card(cause)
if diagnosis.verdict == "healthy" and diagnosis.reassuring:
    st.header("Strongest evidence")
    for item in diagnosis.reassuring:
        st.markdown(f":material/check: {plain(item.text)}")
if diagnosis.advice:
    st.header("To get an answer, record more")
    for number, text in enumerate(diagnosis.advice, start=1):
        st.markdown(f"{number}. {plain(text)}")
other_findings(diagnosis)
look_next(diagnosis)
figure(opened.view("gap_waterfall"))
worth_it(opened.view("tradeoff"))
looked_at(diagnosis)
