//! Listeners, connections, and one file per API key.
