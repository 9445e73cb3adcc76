"""The CUDA runtime: its Python bindings, and what is made with them."""
