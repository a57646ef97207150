"""What the roles share. Imports run one way: from what does I/O to what is pure."""
