"""The device kit: what a vendor's compiler and a bare device need, in one folder."""
