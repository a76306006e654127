"""What is asked: one TOML file a scenario, and the workloads that they share. Data only."""
