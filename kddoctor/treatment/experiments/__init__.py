"""Experiments: small paired trainings that settle what a record cannot. One file each."""
