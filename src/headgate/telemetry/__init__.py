"""What is told about the traffic: metrics and traces. Beside the calls, in the log's thread and threads of its own."""
