"""From a frozen encoder to a task: probes."""
