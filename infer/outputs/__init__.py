"""Answers to files: tables, embeddings, sorted and annotated photos."""
