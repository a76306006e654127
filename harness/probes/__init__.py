"""What is read from the host: facts, guards, control groups, memory and CPU counters."""
