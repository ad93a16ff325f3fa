"""An HTTP server with OpenAI-compatible routes. It needs the extra `spar-engine[server]`."""
