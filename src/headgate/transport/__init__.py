"""Way in 1: inside the official SDKs, one thin file per HTTP client library."""
