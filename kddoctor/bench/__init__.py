"""The fault benchmark: tasks, faults, the protocol that pairs them, and how often kddoctor is right."""
