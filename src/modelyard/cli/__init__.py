"""The command line: speaks to the management API through the SDK, and starts and stops the platform on this machine."""
