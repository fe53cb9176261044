"""The demo: a request as a marketing team makes it, with data as a legacy system has it."""
