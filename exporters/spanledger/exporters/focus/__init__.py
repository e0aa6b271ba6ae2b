"""FOCUS files: spend in the FinOps Open Cost and Usage Specification, adding up to the invoice where there is one."""
