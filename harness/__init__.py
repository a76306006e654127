"""tarebench's engine: runs the identical workload in every box and weighs the boxes."""

__version__ = "0.1.0"
