"""Reading pickles without running them.

No pickle machine: a short list of opcodes is walked, and builds only plain data. A class or function that the pickle
names is never looked up; calling it or making an instance of it yields an inert `Stub`. Large values stay references
to bytes of the file. Everything is counted against the file's budget.
"""
