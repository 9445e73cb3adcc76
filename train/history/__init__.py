"""What is recorded of training runs, and what it means."""
